/** The newest events, kept up to date by what has come since. */

import type { Api } from '../api/client'
import type { EventFilter, FleetEvent } from '../api/events'

/** Events, the newest first, and where to read on. */
export interface Tail {
  events: readonly FleetEvent[]
  cursor: string
  /** Whether there are older ones. */
  more: boolean
}

/** How many are asked for at first. */
const FIRST = 200
/** How many there may be in an answer about what has come since. */
const MOST_NEW = 1000
/** How many are kept: of a long night, the oldest go. */
const MOST_KEPT = 3000

/** What there is now: `before`, with what has come since; or the newest, without it. */
export async function followEvents(
  api: Pick<Api, 'events'>,
  filter: EventFilter,
  before: Tail | null,
): Promise<Tail> {
  if (before === null) return api.events({ ...filter, limit: FIRST })

  const page = await api.events({ ...filter, after: before.cursor, limit: MOST_NEW })
  // The oldest of them come first.
  const events = [...[...page.events].reverse(), ...before.events]
  return {
    events: page.events.length === 0 ? before.events : events.slice(0, MOST_KEPT),
    cursor: page.cursor,
    more: before.more || events.length > MOST_KEPT,
  }
}
