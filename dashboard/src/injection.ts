/**
 * Keys for values that components deep in the page need, and that the layers between
 * would only hand on. Each value is provided in one place and injected where a component
 * needs the value. Props remain for a component's own subject, for example the server
 * that a row shows.
 */

import { inject } from 'vue'
import type { InjectionKey, Ref } from 'vue'
import type { Action } from './access'
import type { Api } from './api/client'
import type { Account, Flag, HostTraffic, Server } from './api/wire'
import type { Bulk } from './composables/useBulk'
import type { Fleet } from './composables/useFleet'
import type { Toasts } from './composables/useToasts'

/** The client of the API. `App` provides the client. */
export const API: InjectionKey<Api> = Symbol('API')

/**
 * The time from which ages are counted, in milliseconds; it ticks. `AppShell` provides
 * the clock.
 */
export const CLOCK: InjectionKey<Readonly<Ref<number>>> = Symbol('CLOCK')

/** The fleet, live. `AppShell` provides it, so that it lives on from page to page. */
export const FLEET: InjectionKey<Fleet> = Symbol('FLEET')

/** Who is logged in, and what the user may do. `AppShell` provides it. */
export const ACCESS: InjectionKey<Access> = Symbol('ACCESS')

/** Short messages at the edge of the page. `AppShell` provides them. */
export const TOASTS: InjectionKey<Toasts> = Symbol('TOASTS')

/** Changing many hosts. `AppShell` provides it, so that a change outlives its page. */
export const BULK: InjectionKey<Bulk> = Symbol('BULK')

/** The traffic of hosts with a quota, by `server_id`. `AppShell` provides it. */
export const TRAFFIC_OF: InjectionKey<Readonly<Ref<ReadonlyMap<string, HostTraffic>>>> =
  Symbol('TRAFFIC_OF')

/** How the switches of a row change flags. `AppShell` provides the functions. */
export const FLAG_EDITING: InjectionKey<FlagEditing> = Symbol('FLAG_EDITING')

/** The account, and what it allows. */
export interface Access {
  /** Null before the first answer. */
  account: Readonly<Ref<Account | null>>
  /** Why the user may not do it, as a sentence; null if the user may. */
  refusal: (action: Action) => string | null
}

/** Changing flags, as `useFlagEdits` and `useAccount` offer. */
export interface FlagEditing {
  /** Why the user cannot change flags; null when the user can. */
  lockedReason: Readonly<Ref<string | null>>
  isSaving: (serverId: string, flag: Flag) => boolean
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
