/** The fleet as the page shows it: account, list, edits and polling, put together. */

import type { Api } from '../api/client'
import { useAccount } from './useAccount'
import { useApiErrors } from './useApiErrors'
import { useFlagEdits } from './useFlagEdits'
import { usePolling } from './usePolling'
import { useServerList } from './useServerList'
import { useTraffic } from './useTraffic'

/** What the page shows of the fleet, and what the user can do. */
export type Fleet = ReturnType<typeof useFleet>

/**
 * Polls until the surrounding scope is disposed. Calls `onUnauthorized` when the token is
 * no longer good. `now` gives the time in milliseconds.
 */
export function useFleet(api: Api, onUnauthorized: () => void, now: () => number = Date.now) {
  const errorToShow = useApiErrors(onUnauthorized)
  const { account, lockedReason, load: loadAccount } = useAccount(api)
  const list = useServerList(api)
  const { traffic, load: loadTraffic } = useTraffic(api, list.listed)

  const refresh = () => polling.refresh()
  const { release, ...edits } = useFlagEdits(api, list, { errorToShow, refresh, now })

  // Polling comes last, because the first poll begins here.
  const polling = usePolling(poll, errorToShow, now)

  async function poll(requestedAt: number) {
    await loadAccount()
    await list.load()
    release(requestedAt)
    await loadTraffic(requestedAt)
  }

  const { updatedAt, clock, failure } = polling
  const { replace } = list
  return { account, lockedReason, traffic, ...edits, replace, updatedAt, clock, failure, refresh }
}
