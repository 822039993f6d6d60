/**
 * Keys for values that components deep in the page need, and that the layers between
 * would only hand on. Each value is provided in one place and injected where a component
 * needs the value. Props remain for a component's own subject, for example the server
 * that a row shows.
 */

import { inject } from 'vue'
import type { InjectionKey, Ref } from 'vue'
import type { Api } from './api/client'
import type { Flag, HostTraffic, Server } from './api/wire'

/** The client of the API. `App` provides the client. */
export const API: InjectionKey<Api> = Symbol('API')

/**
 * The time from which ages are counted, in milliseconds. `FleetView` provides the clock.
 */
export const CLOCK: InjectionKey<Readonly<Ref<number>>> = Symbol('CLOCK')

/** The traffic of hosts with a quota, by `server_id`. `FleetView` provides it. */
export const TRAFFIC_OF: InjectionKey<Readonly<Ref<ReadonlyMap<string, HostTraffic>>>> =
  Symbol('TRAFFIC_OF')

/** How the switches of a row change flags. `FleetView` provides the functions. */
export const FLAG_EDITING: InjectionKey<FlagEditing> = Symbol('FLAG_EDITING')

/** Changing flags, as `useFlagEdits` and `useAccount` offer. */
export interface FlagEditing {
  /** Why the user cannot change flags; null when the user can. */
  lockedReason: Readonly<Ref<string | null>>
  isSaving: (ip: string, flag: Flag) => boolean
  setFlag: (server: Server, flag: Flag, value: boolean) => unknown
}

/**
 * The value that is provided under the key. Throws without a value: the page has a bug.
 */
export function injected<T>(key: InjectionKey<T>): T {
  const value = inject(key, null)
  if (value === null) throw new Error(`${key.toString()} is not provided`)

  return value
}
