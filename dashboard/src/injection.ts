/**
 * What components deep in the page need and the layers between would only hand on. A key is provided
 * in one place and injected wherever it is needed; props remain for what is a component's own subject.
 */

import { inject } from 'vue'
import type { InjectionKey, Ref } from 'vue'
import type { Api } from './api/client'
import type { Flag, Server } from './api/wire'

/** The client of the API, provided by `App`. */
export const API: InjectionKey<Api> = Symbol('API')

/** The time that ages are counted from, in milliseconds, provided by `FleetView`. */
export const CLOCK: InjectionKey<Readonly<Ref<number>>> = Symbol('CLOCK')

/** How the switches of a row change flags, provided by `FleetView`. */
export const FLAG_EDITING: InjectionKey<FlagEditing> = Symbol('FLAG_EDITING')

/** See `useFlagEdits` and `useAccount`. */
export interface FlagEditing {
  /** Why the user cannot change flags; null when the user can. */
  lockedReason: Readonly<Ref<string | null>>
  isSaving: (ip: string, flag: Flag) => boolean
  setFlag: (server: Server, flag: Flag, value: boolean) => unknown
}

/** What was provided under the key. Fails when nothing was: that is a bug of the page. */
export function injected<T>(key: InjectionKey<T>): T {
  const value = inject(key, null)
  if (value === null) throw new Error(`${key.toString()} is not provided`)

  return value
}
