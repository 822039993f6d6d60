import { describe, expect, test } from 'vitest'
import {
  COLUMNS,
  DEFAULT_SORT,
  placeOf,
  sortAfterClick,
  sortServers,
} from '../../src/display/table'
import type { Server } from '../../src/api/wire'
import { aServer } from '../support'

function named(hostname: string, changes: Partial<Server> = {}) {
  return aServer({ hostname, ip: `host-${hostname}`, ...changes })
}

function names(servers: readonly Server[]) {
  return servers.map((server) => server.hostname).join(' ')
}

function withCpu(hostname: string, cpu: number | null) {
  return named(hostname, { load: { cpu, ram: null, net: null } })
}

function column(key: string) {
  const found = COLUMNS.find((candidate) => candidate.key === key)
  if (found === undefined) throw new Error(`there is no column ${key}`)
  return found
}

describe('sorting', () => {
  test('servers that are down come first unless told otherwise', () => {
    const servers = [named('a'), named('b', { status: 'down' }), named('c')]
    expect(names(sortServers(servers, DEFAULT_SORT))).toBe('b a c')
  })

  test('numbers in names count as numbers', () => {
    const servers = [named('vpn-10'), named('vpn-9'), named('VPN-1')]
    expect(names(sortServers(servers, { key: 'host', descending: false }))).toBe(
      'VPN-1 vpn-9 vpn-10',
    )
  })

  test('equal ones are in the order of their names, in either direction', () => {
    const servers = [named('c'), named('a'), named('b')]
    expect(names(sortServers(servers, { key: 'gaming', descending: false }))).toBe('a b c')
    expect(names(sortServers(servers, { key: 'gaming', descending: true }))).toBe('a b c')
  })

  test('what was not measured goes last in either direction', () => {
    const servers = [withCpu('none', null), withCpu('high', 90), withCpu('low', 9)]
    expect(names(sortServers(servers, { key: 'cpu', descending: false }))).toBe('low high none')
    expect(names(sortServers(servers, { key: 'cpu', descending: true }))).toBe('high low none')
  })

  test('heartbeats are compared as times, not as text', () => {
    const servers = [
      named('later', { last_heartbeat: '2026-01-31T12:00:00.25Z' }),
      named('earlier', { last_heartbeat: '2026-01-31T12:00:00Z' }),
    ]
    expect(names(sortServers(servers, { key: 'heartbeat', descending: false }))).toBe(
      'earlier later',
    )
  })

  test('the list that was given stays as it is', () => {
    const servers = [named('b'), named('a')]
    sortServers(servers, { key: 'host', descending: false })
    expect(names(servers)).toBe('b a')
  })

  test.each(COLUMNS)('the column $label sorts', ({ key }) => {
    const servers = [named('b'), named('a')]
    expect(names(sortServers(servers, { key, descending: false }))).toBe('a b')
  })

  test('a click sorts a column by its own order first, then by the reverse', () => {
    const byCpu = sortAfterClick(DEFAULT_SORT, column('cpu'))
    expect(byCpu).toEqual({ key: 'cpu', descending: true })
    expect(sortAfterClick(byCpu, column('cpu'))).toEqual({ key: 'cpu', descending: false })
    expect(sortAfterClick(byCpu, column('host'))).toEqual({ key: 'host', descending: false })
  })
})

test('a place is told as far as it is known', () => {
  expect(placeOf(aServer())).toBe('Munich, Germany')
  expect(placeOf(aServer({ city: '' }))).toBe('Germany')
  expect(placeOf(aServer({ city: '', country: '' }))).toBe('')
})
