/** Requests about events. */

import { queryOf } from './requests'
import type { Requests } from './requests'
import type { components } from './schema'
import { isBoolean, isObject, isText, isTime, listOf, orNull, shaped } from './shape'
import type { Check, Shape } from './shape'

type Schemas = components['schemas']

/** What has happened to a host or the fleet, or what a person or a program has done. */
export type FleetEvent = Pick<
  Schemas['Event'],
  'id' | 'at' | 'ip' | 'server_id' | 'hostname' | 'user' | 'actor'
> & {
  /** From a closed list, which a newer server may have made longer. */
  kind: string
  /** What else there is to tell, by kind. */
  data: Record<string, unknown>
}

const isActor: Check<FleetEvent['actor']> = (value): value is FleetEvent['actor'] =>
  value === null ||
  (isObject(value) &&
    ['user', 'program', 'address'].every(
      (name) => value[name] === undefined || isText(value[name]),
    ))

export const EVENT: Shape<FleetEvent> = {
  id: isText,
  at: isTime,
  kind: isText,
  ip: orNull(isText),
  server_id: orNull(isText),
  hostname: orNull(isText),
  user: orNull(isText),
  actor: isActor,
  data: isObject,
}

/** Events, and where to read on. */
export interface EventPage {
  events: FleetEvent[]
  cursor: string
  /** Whether there are more in this direction. */
  more: boolean
}

const EVENT_PAGE: Shape<EventPage> = {
  events: listOf(EVENT),
  cursor: isText,
  more: isBoolean,
}

/** Which events are asked for. */
export interface EventFilter {
  /** A kind such as `host.down`, or a group such as `host.*`. */
  kind?: string
  /** A host's address or `server_id`. */
  ip?: string
  user?: string
  /** RFC 3339, as `until`. */
  since?: string
  until?: string
  /** The cursor of an earlier answer. With it, the oldest come first. */
  after?: string
  limit?: number
}

/** Events, as far as the user may see them. */
export interface EventsApi {
  events(filter: EventFilter): Promise<EventPage>
}

export function eventsApi({ get }: Requests): EventsApi {
  return { events: (filter) => get(`events${queryOf({ ...filter })}`, shaped(EVENT_PAGE)) }
}
