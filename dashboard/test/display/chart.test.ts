import { describe, expect, test } from 'vitest'
import type { History } from '../../src/api/host'
import { chartOf, gapsOf, mergeCharts, shadesOf, stretchesOf } from '../../src/display/chart'

function aHistory(changes: Partial<History> = {}): History {
  return {
    from: '1970-01-01T00:00:00Z',
    to: '1970-01-01T00:20:00Z',
    step_s: 120,
    t: [0, 120, 240],
    series: { cpu: { avg: [1, 2, 3], min: [1, 2, 3], max: [1, 2, 3] } },
    status: [],
    not_reached: [],
    more: false,
    incomplete: false,
    ...changes,
  }
}

describe('a chart', () => {
  test('has a line for each series that is there', () => {
    const { t, lines } = chartOf(aHistory(), ['cpu', 'ram'])
    expect(t).toEqual([0, 120, 240])
    expect([...lines]).toEqual([['cpu', { avg: [1, 2, 3], min: null, max: null }]])
  })

  test('has a band where points are means of several values', () => {
    const cpu = { avg: [5, null], min: [1, null], max: [9, null] }
    const { lines } = chartOf(aHistory({ t: [0, 3600], step_s: 3600, series: { cpu } }), ['cpu'])
    expect(lines.get('cpu')).toEqual(cpu)
  })

  test('has a gap where heartbeats are missing, and none where one was late', () => {
    const t = [0, 120, 250, 2000, 2120]
    expect(gapsOf(t, 120)).toEqual([3])
    const values = [1, 2, 3, 4, 5]
    const chart = chartOf(
      aHistory({ t, series: { cpu: { avg: values, min: values, max: values } } }),
      ['cpu'],
    )
    expect(chart.t).toEqual([0, 120, 250, 1125, 2000, 2120])
    expect(chart.lines.get('cpu')?.avg).toEqual([1, 2, 3, null, 4, 5])
  })

  test('shows of a service the share of the time in percent', () => {
    const history = aHistory({ series: { 'services.wg': { up: [1, 0.5, null] } } })
    expect(chartOf(history, ['services.wg']).lines.get('services.wg')?.avg).toEqual([100, 50, null])
  })

  test('is laid over another one at the times of both', () => {
    const other = aHistory({
      t: [60, 240],
      series: { cpu: { avg: [7, 8], min: [7, 8], max: [7, 8] } },
    })
    const merged = mergeCharts(chartOf(aHistory(), ['cpu']), chartOf(other, ['cpu']), ' b')
    expect(merged.t).toEqual([0, 60, 120, 240])
    expect(merged.lines.get('cpu')?.avg).toEqual([1, undefined, 2, 3])
    expect(merged.lines.get('cpu b')?.avg).toEqual([undefined, 7, undefined, 8])
  })
})

test('times in which a host was down, unknown or not heard stand behind the lines', () => {
  const at = (minute: number) => `1970-01-01T00:0${minute}:00Z`
  const history = aHistory({
    status: [
      { from: at(0), to: at(1), status: 'unknown' },
      { from: at(1), to: at(2), status: 'active' },
      { from: at(2), to: at(3), status: 'down' },
    ],
    not_reached: [{ from: at(4), to: at(5) }],
  })
  expect(shadesOf(history)).toEqual([
    { from: 0, to: 60, kind: 'unknown' },
    { from: 120, to: 180, kind: 'down' },
    { from: 240, to: 300, kind: 'notReached' },
  ])
})

describe('the strip of a service', () => {
  test('joins what is alike, and ends where heartbeats end', () => {
    const history = aHistory({ t: [0, 120, 240, 360] })
    expect(stretchesOf(history, [1, 1, 0, null])).toEqual([
      { left: 0, width: 20, share: 1 },
      { left: 20, width: 10, share: 0 },
    ])
  })

  test('says nothing of a silence', () => {
    const [first, second] = stretchesOf(aHistory({ t: [0, 900] }), [1, 1])
    expect(first).toEqual({ left: 0, width: 25, share: 1 })
    expect(second?.left).toBe(75)
  })
})
