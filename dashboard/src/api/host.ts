/** Requests about one host. */

import { queryOf } from './requests'
import type { Requests } from './requests'
import type { components } from './schema'
import {
  isBoolean,
  isNumber,
  isObject,
  isText,
  isTime,
  listOf,
  oneOf,
  orNull,
  shaped,
} from './shape'
import type { Check, Shape } from './shape'
import { SERVER, TRAFFIC } from './wire'
import type { HostTraffic, Mode, Server, Settings } from './wire'

type Schemas = components['schemas']

/** What a host has measured, as a chart: every array has a value for each of `t`. */
export type History = Pick<
  Schemas['History'],
  'from' | 'to' | 'step_s' | 't' | 'series' | 'status' | 'not_reached' | 'more' | 'incomplete'
>

/** A series of a chart: values of a measure, or for which share of the time a service ran. */
export type HistorySeries = History['series'][string]

/** A time, and what the host was in it. */
export type StatusRange = History['status'][number]

const isNumbers: Check<(number | null)[]> = (value): value is (number | null)[] =>
  Array.isArray(value) && value.every((item) => item === null || typeof item === 'number')

const isSeries: Check<History['series']> = (value): value is History['series'] =>
  isObject(value) &&
  Object.values(value).every(
    (series) =>
      isObject(series) &&
      (isNumbers(series.up) ||
        (isNumbers(series.avg) && isNumbers(series.min) && isNumbers(series.max))),
  )

const RANGE: Shape<{ from: string; to: string }> = { from: isTime, to: isTime }
const STATUS_RANGE: Shape<StatusRange> = {
  ...RANGE,
  status: oneOf(['active', 'down', 'unknown']),
}

export const HISTORY: Shape<History> = {
  from: isTime,
  to: isTime,
  step_s: isNumber,
  t: (value): value is number[] => isNumbers(value) && !value.includes(null),
  series: isSeries,
  status: listOf(STATUS_RANGE),
  not_reached: listOf(RANGE),
  more: isBoolean,
  incomplete: isBoolean,
}

/** For how long a host was up, day by day. */
export type Uptime = Pick<
  Schemas['Uptime'],
  'from' | 'to' | 'uptime' | 'days' | 'not_reached_s' | 'down_s' | 'unknown_s' | 'incomplete'
>

/** A day of a host, in UTC. */
export type UptimeDay = Uptime['days'][number]

const DAY: Shape<UptimeDay> = {
  day: isText,
  uptime: orNull(isNumber),
  up_s: isNumber,
  not_reached_s: isNumber,
  down_s: isNumber,
  unknown_s: isNumber,
}

export const UPTIME: Shape<Uptime> = {
  from: isTime,
  to: isTime,
  uptime: orNull(isNumber),
  days: listOf(DAY),
  not_reached_s: isNumber,
  down_s: isNumber,
  unknown_s: isNumber,
  incomplete: isBoolean,
}

/** Which part of a host's history is asked for. */
export interface HistoryQuestion {
  /** In milliseconds. */
  from: number
  to: number
  /** Such as `cpu`, `services` and `metrics.load1`. */
  series: readonly string[]
  /** The most points. */
  points: number
}

/** How a host is to be used from now on. */
export interface NewState {
  mode: Mode
  /** RFC 3339. */
  until?: string | null
  reason?: string | null
}

/** One host: its past, and what admins set. `serverId` is its lasting name. */
export interface HostApi {
  history(serverId: string, question: HistoryQuestion): Promise<History>
  uptime(serverId: string, days: number): Promise<Uptime>
  /** What the host has used of its billing cycle; null where nothing is known. */
  hostTraffic(serverId: string): Promise<HostTraffic | null>
  setState(serverId: string, state: NewState): Promise<Server>
  /** Sets tags, and removes those that are null. */
  setTags(serverId: string, tags: Record<string, string | null>): Promise<Server>
  /** Sets settings, each as a whole, and removes those that are null. */
  setSettings(
    serverId: string,
    settings: { [K in keyof Settings]?: Settings[K] | null },
  ): Promise<Server>
  /** Gives whether the host comes back with its next heartbeat. */
  deleteHost(serverId: string): Promise<boolean>
}

export function hostApi({ send, get, call }: Requests): HostApi {
  const at = (serverId: string, rest = '') => `server/${encodeURIComponent(serverId)}${rest}`

  return {
    history: (serverId, { from, to, series, points }) => {
      const query = queryOf({
        from: new Date(from).toISOString(),
        to: new Date(to).toISOString(),
        series: series.join(','),
        points,
      })
      return get(at(serverId, `/history${query}`), shaped(HISTORY))
    },

    uptime: (serverId, days) => get(at(serverId, `/uptime${queryOf({ days })}`), shaped(UPTIME)),

    async hostTraffic(serverId) {
      const select = `server_id = "${serverId}"`
      const { servers } = await get(`traffic${queryOf({ select })}`, shaped(TRAFFIC))
      return servers[0] ?? null
    },

    setState: (serverId, state) => call('PATCH', at(serverId, '/state'), state, shaped(SERVER)),
    setTags: (serverId, tags) => call('PATCH', at(serverId, '/tags'), tags, shaped(SERVER)),
    setSettings: (serverId, settings) =>
      call('PATCH', at(serverId, '/settings'), settings, shaped(SERVER)),

    async deleteHost(serverId) {
      const response = await send(at(serverId), { method: 'DELETE' })
      return response.headers.get('X-Fleetbeat-Returns') === 'true'
    },
  }
}
