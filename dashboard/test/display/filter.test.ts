import { describe, expect, test } from 'vitest'
import type { Server } from '../../src/api/wire'
import { parseFilter, searchServers, searchText, selectServers } from '../../src/display/filter'
import { aServer } from '../support'

const NOW_MS = Date.parse('2026-01-31T12:00:00Z')

const munich = aServer({
  hostname: 'vpn-1',
  ip: 'host-vpn-1',
  services: [{ name: 'wg', active: true }],
  last_heartbeat: '2026-01-31T11:59:00Z',
})
const tokyo = aServer({
  hostname: 'vpn-2',
  ip: 'host-vpn-2',
  city: 'Tokyo',
  country: 'Japan',
  countryCode: 'JP',
  status: 'down',
  services: [],
  gaming: true,
  last_heartbeat: '2026-01-31T11:00:00Z',
})
const SERVERS = [munich, tokyo]

function names(servers: readonly Server[]) {
  return servers.map((server) => server.hostname).join(' ')
}

describe('words', () => {
  test.each([
    ['a name', 'VPN-2', 'vpn-2'],
    ['an address', 'host-vpn-1', 'vpn-1'],
    ['a city', 'tok', 'vpn-2'],
    ['a country', 'germany', 'vpn-1'],
    ['a country code', 'jp', 'vpn-2'],
    ['a service', 'wg', 'vpn-1'],
    ['a status', 'down', 'vpn-2'],
    ['several words', ' vpn  munich ', 'vpn-1'],
    ['words that no server has together', 'tokyo wg', ''],
    ['nothing', '  ', 'vpn-1 vpn-2'],
    ['the name of a field that is a text', 'city', ''],
    ['what would select all', 'all', ''],
  ])('find by %s', (_, query, expected) => {
    const { words, selector, fault } = parseFilter(query)
    expect([selector, fault]).toEqual([null, null])
    expect(names(searchServers(SERVERS, SERVERS.map(searchText), words))).toBe(expected)
  })
})

describe('selectors', () => {
  test.each([
    ['country = jp', 'vpn-2'],
    ['service.wg', 'vpn-1'],
    ['gaming', 'vpn-2'],
    ['not gaming', 'vpn-1'],
    [' gaming or  service.wg ', 'vpn-1 vpn-2'],
    ['last_heartbeat > 5m', 'vpn-2'],
    ['city in (Munich, Tokyo) and status != down', 'vpn-1'],
  ])('%s selects', (query, expected) => {
    const { selector, fault } = parseFilter(query)
    expect(fault).toBeNull()
    if (selector === null) throw new Error('is not taken for a selector')
    expect(names(selectServers(SERVERS, selector, NOW_MS))).toBe(expected)
  })

  test.each([
    ['gaming and wg', 'at character 12: "wg" is not a field: for a tag, write tag.wg'],
    ['load.cpu <', 'at character 11: a value is missing behind <'],
    ['(gaming', 'at character 1: this ( is not closed'],
  ])('%s is told to be wrong', (query, fault) => {
    expect(parseFilter(query)).toMatchObject({ selector: null, fault })
  })
})
