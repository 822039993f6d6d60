import { describe, expect, test } from 'vitest'
import type { Server } from '../../src/api/wire'
import { DEFAULT_SORTS, FLEET_COLUMNS, conditionOf, placeOf } from '../../src/display/fleet'
import {
  USUAL_LAYOUT,
  asCsv,
  asJson,
  isLayout,
  makeSorter,
  parseSorts,
  showSorts,
  shownColumns,
  sortAfterClick,
  sortRows,
} from '../../src/display/table'
import type { Sort } from '../../src/display/table'
import { aServer } from '../support'

function named(hostname: string, changes: Partial<Server> = {}) {
  return aServer({ hostname, ip: `host-${hostname}`, server_id: hostname, ...changes })
}

function names(servers: readonly Server[]) {
  return servers.map((server) => server.hostname).join(' ')
}

function sorted(servers: readonly Server[], ...sorts: Sort[]) {
  return names(sortRows(servers, FLEET_COLUMNS, sorts, (server) => server.hostname))
}

function withCpu(hostname: string, cpu: number | null) {
  return named(hostname, { load: { cpu, ram: null, net: null } })
}

function column(key: string) {
  const found = FLEET_COLUMNS.find((candidate) => candidate.key === key)
  if (found === undefined) throw new Error(`there is no column ${key}`)
  return found
}

const up = (key: string) => ({ key, descending: false })
const down = (key: string) => ({ key, descending: true })

describe('sorting', () => {
  test('servers that are down come first unless told otherwise', () => {
    const servers = [named('a'), named('b', { status: 'down' }), named('c')]
    expect(sorted(servers, ...DEFAULT_SORTS)).toBe('b a c')
  })

  test('numbers in names count as numbers', () => {
    expect(sorted([named('vpn-10'), named('vpn-9'), named('VPN-1')], up('host'))).toBe(
      'VPN-1 vpn-9 vpn-10',
    )
  })

  test('equal ones are in the order of their names, in either direction', () => {
    const servers = [named('c'), named('a'), named('b')]
    expect(sorted(servers, up('gaming'))).toBe('a b c')
    expect(sorted(servers, down('gaming'))).toBe('a b c')
  })

  test('what was not measured goes last in either direction', () => {
    const servers = [withCpu('none', null), withCpu('high', 90), withCpu('low', 9)]
    expect(sorted(servers, up('cpu'))).toBe('low high none')
    expect(sorted(servers, down('cpu'))).toBe('high low none')
  })

  test('heartbeats are compared as times, not as text', () => {
    const servers = [
      named('later', { last_heartbeat: '2026-01-31T12:00:00.25Z' }),
      named('earlier', { last_heartbeat: '2026-01-31T12:00:00Z' }),
    ]
    expect(sorted(servers, up('heartbeat'))).toBe('earlier later')
  })

  test('several columns count one after the other', () => {
    const servers = [
      named('a', { city: 'Rome', gaming: true }),
      named('b', { city: 'Oslo', gaming: false }),
      named('c', { city: 'Oslo', gaming: true }),
    ]
    expect(sorted(servers, up('place'), down('gaming'))).toBe('c b a')
  })

  test('the list that was given stays as it is', () => {
    const servers = [named('b'), named('a')]
    sorted(servers, up('host'))
    expect(names(servers)).toBe('b a')
  })

  test.each(FLEET_COLUMNS)('the column $key sorts', ({ key }) => {
    expect(sorted([named('b'), named('a')], up(key))).toBe('a b')
  })

  test('a sorter that begins from the last order gives the same as one that does not', () => {
    const sort = makeSorter<Server>(
      ({ server_id: id }) => id,
      ({ hostname }) => hostname,
    )
    const first = ['d', 'b', 'a', 'c'].map((name, index) => withCpu(name, index))
    expect(names(sort(first, FLEET_COLUMNS, [down('cpu')]))).toBe('c a b d')
    const second = [withCpu('d', 9), withCpu('e', 5), withCpu('a', 2), withCpu('b', null)]
    expect(names(sort(second, FLEET_COLUMNS, [down('cpu')]))).toBe('d e a b')
    expect(names(sort(second, FLEET_COLUMNS, [up('host')]))).toBe('a b d e')
    expect(names(sort([], FLEET_COLUMNS, [up('host')]))).toBe('')
  })

  test('a click sorts a column by its own order first, then by the reverse', () => {
    const byCpu = sortAfterClick(DEFAULT_SORTS, column('cpu'), false)
    expect(byCpu).toEqual([down('cpu')])
    expect(sortAfterClick(byCpu, column('cpu'), false)).toEqual([up('cpu')])
    expect(sortAfterClick(byCpu, column('host'), false)).toEqual([up('host')])
  })

  test('a click with Shift adds a column, or turns one around', () => {
    const both = sortAfterClick([down('cpu')], column('host'), true)
    expect(both).toEqual([down('cpu'), up('host')])
    expect(sortAfterClick(both, column('cpu'), true)).toEqual([up('cpu'), up('host')])
  })

  test('stands in the URL', () => {
    expect(showSorts([down('cpu'), up('host')])).toBe('-cpu,host')
    expect(parseSorts('-cpu,host,atlantis', FLEET_COLUMNS)).toEqual([down('cpu'), up('host')])
    expect(parseSorts('', FLEET_COLUMNS)).toEqual([])
  })
})

describe('the layout', () => {
  const keys = (layout: Parameters<typeof shownColumns>[1]) =>
    shownColumns(FLEET_COLUMNS, layout).map(({ key }) => key)

  test('has the usual columns unless some are chosen', () => {
    expect(keys(USUAL_LAYOUT)).toContain('cpu')
    expect(keys(USUAL_LAYOUT)).not.toContain('version')
  })

  test('skips what is not a column, and always says which row it is', () => {
    expect(keys({ shown: ['cpu', 'atlantis'], widths: {} })).toEqual(['host', 'cpu'])
  })

  test.each([
    [{ shown: null, widths: {} }, true],
    [{ shown: ['cpu'], widths: { cpu: 80 } }, true],
    [{ shown: [1], widths: {} }, false],
    [{ shown: null, widths: { cpu: '80' } }, false],
    [{ shown: null }, false],
    [null, false],
  ])('is known from what is stored: %j', (value, isOne) => {
    expect(isLayout(value)).toBe(isOne)
  })
})

describe('export', () => {
  const columns = FLEET_COLUMNS.filter(({ key }) => ['host', 'cpu', 'status'].includes(key))

  test('as CSV quotes what needs quotes, and disarms formulas', () => {
    const rows = [withCpu('a,"b"', 23.5), withCpu('=HYPERLINK("x")', null)]
    expect(asCsv(rows, columns)).toBe(
      ['Status,Host,CPU', 'drain,"a,""b""",23.5', `drain,"'=HYPERLINK(""x"")",`, ''].join('\r\n'),
    )
  })

  test('as JSON has the values by the names of the columns', () => {
    expect(JSON.parse(asJson([withCpu('a', null)], columns))).toEqual([
      { status: 'drain', host: 'a', cpu: null },
    ])
  })
})

test.each([
  ['down', 'normal', 'down'],
  ['down', 'drain', 'down'],
  ['down', 'maintenance', 'maintenance'],
  ['active', 'drain', 'drain'],
  ['active', 'normal', 'active'],
] as const)('a host that is %s with mode %s is called %s', (status, mode, expected) => {
  const state = { mode, until: null, reason: null, since: null }
  expect(conditionOf(aServer({ status, state }))).toBe(expected)
})

test('a place is told as far as it is known', () => {
  expect(placeOf(aServer())).toBe('Munich, Germany')
  expect(placeOf(aServer({ city: '' }))).toBe('Germany')
  expect(placeOf(aServer({ city: '', country: '' }))).toBe('')
})
