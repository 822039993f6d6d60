/** Charts without pictures: points, gaps, and what stands behind the lines. */

import type { History, HistorySeries } from '../api/host'

/** Spans of time that a chart shows, in milliseconds. */
export const SPANS = {
  hour: 3_600_000,
  sixHours: 6 * 3_600_000,
  day: 86_400_000,
  week: 7 * 86_400_000,
  month: 30 * 86_400_000,
  quarter: 90 * 86_400_000,
  year: 365 * 86_400_000,
} as const
/** The name of a span. */
export type SpanName = keyof typeof SPANS

/** A silence longer than so many times the usual pause is a gap in the line. */
const GAP_STEPS = 2.5

/** A column of values, one for each time: null for a gap, undefined for nothing to say. */
export type Values = (number | null | undefined)[]

/** A line of a chart, with the band of its smallest and largest values. */
export interface Line {
  avg: Values
  /** Null where each point is a single value. */
  min: Values | null
  max: Values | null
}

/** The times of a chart, in seconds since 1970, and its lines by name. */
export interface ChartData {
  t: number[]
  lines: Map<string, Line>
}

/** The chart of these series; names without a series are left out. */
export function chartOf(history: History, names: readonly string[]): ChartData {
  const gaps = gapsOf(history.t, history.step_s)
  const lines = new Map<string, Line>()
  for (const name of names) {
    const series = history.series[name]
    if (series !== undefined) lines.set(name, lineOf(series, gaps))
  }
  return { t: withGaps(history.t, gaps, timeIn(history.t)), lines }
}

function lineOf(series: HistorySeries, gaps: readonly number[]): Line {
  const none = () => null
  if ('up' in series) {
    const share = series.up.map((value) => (value === null ? null : value * 100))
    return { avg: withGaps<number | null>(share, gaps, none), min: null, max: null }
  }
  const avg = withGaps<number | null>(series.avg, gaps, none)
  const isBand = series.avg.some(
    (value, index) => value !== series.min[index] || value !== series.max[index],
  )
  if (!isBand) return { avg, min: null, max: null }
  return {
    avg,
    min: withGaps<number | null>(series.min, gaps, none),
    max: withGaps<number | null>(series.max, gaps, none),
  }
}

/**
 * The places before which something is missing. Short charts have a point for each
 * heartbeat, and none where there was no heartbeat: the line would go on.
 */
export function gapsOf(t: readonly number[], stepS: number): number[] {
  const longest = stepS * GAP_STEPS
  if (stepS === 0) return []
  return t.flatMap((time, index) => {
    const before = t[index - 1]
    return before !== undefined && time - before > longest ? [index] : []
  })
}

function timeIn(t: readonly number[]) {
  return (index: number) => ((t[index - 1] ?? 0) + (t[index] ?? 0)) / 2
}

/** The values, with one more before each of the places. */
function withGaps<T>(
  values: readonly T[],
  places: readonly number[],
  made: (at: number) => T,
): T[] {
  if (places.length === 0) return [...values]
  const wanted = new Set(places)
  return values.flatMap((value, index) => (wanted.has(index) ? [made(index), value] : [value]))
}

/** A part of a chart's background. */
export interface Shade {
  /** In seconds since 1970. */
  from: number
  to: number
  kind: 'down' | 'unknown' | 'notReached'
}

/** When the host was down or unknown, or up and not heard at the time. */
export function shadesOf({ status, not_reached: notReached }: History): Shade[] {
  const seconds = (time: string) => Date.parse(time) / 1000
  return [
    ...status.flatMap(({ from, to, status: kind }) =>
      kind === 'active' ? [] : [{ from: seconds(from), to: seconds(to), kind }],
    ),
    ...notReached.map(({ from, to }) => ({
      from: seconds(from),
      to: seconds(to),
      kind: 'notReached' as const,
    })),
  ]
}

/** A part of a service's strip. */
export interface Stretch {
  /** Where it begins, and how long it is, in percent of the strip. */
  left: number
  width: number
  /** The share of the heartbeats in which the service ran, from 0 to 1. */
  share: number
}

/** For which parts of the chart's time a service ran; nothing where nothing is known. */
export function stretchesOf(
  { from, to, t, step_s: stepS }: History,
  up: readonly (number | null)[],
): Stretch[] {
  const begin = Date.parse(from) / 1000
  const length = Date.parse(to) / 1000 - begin
  const stretches: (Stretch & { end: number })[] = []
  for (const [index, share] of up.entries()) {
    const time = t[index]
    if (share === null || time === undefined) continue
    const next = t[index + 1] ?? time + stepS
    const end = Math.min(next, time + stepS * GAP_STEPS)
    const last = stretches.at(-1)
    if (last?.share === share && last.end >= time) last.end = end
    else stretches.push({ left: time, width: 0, share, end })
  }
  return stretches.map(({ left, end, share }) => ({
    left: (100 * (left - begin)) / length,
    width: (100 * (end - left)) / length,
    share,
  }))
}

/**
 * Two charts as one: a line of the second has its name with this ending. Where a chart
 * has no value of its own at a time of the other one, the value is undefined: the line
 * goes on, which it does not at null.
 */
export function mergeCharts(one: ChartData, other: ChartData, ending: string): ChartData {
  const t = [...new Set([...one.t, ...other.t])].sort((a, b) => a - b)
  const lines = new Map<string, Line>()
  for (const [chart, rest] of [
    [one, ''],
    [other, ending],
  ] as const) {
    const places = new Map(chart.t.map((time, index) => [time, index]))
    const spread = (values: Values) =>
      t.map((time) => {
        const place = places.get(time)
        return place === undefined ? undefined : values[place]
      })
    for (const [name, { avg, min, max }] of chart.lines) {
      lines.set(name + rest, {
        avg: spread(avg),
        min: min === null ? null : spread(min),
        max: max === null ? null : spread(max),
      })
    }
  }
  return { t, lines }
}
