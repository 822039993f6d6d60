/**
 * Polling: asks every few seconds, waits longer after failures and when the API asks for a
 * longer pause, and rests while the browser's tab is hidden. Two polls never run at once.
 */

import { onScopeDispose, ref } from 'vue'
import type { ApiError } from '../api/client'

/** The usual pause between two requests, in milliseconds. */
export const REFRESH_MS = 5_000
/** The longest pause, which is also the longest that Retry-After can ask for. */
const LONGEST_WAIT_MS = 60_000

/**
 * Calls `poll` until the surrounding scope is disposed. `requestedAt` is the time of the
 * call, in milliseconds; `now` gives that time. `errorToShow` comes from `useApiErrors`.
 */
export function usePolling(
  poll: (requestedAt: number) => Promise<void>,
  errorToShow: (error: unknown) => ApiError | null,
  now: () => number,
) {
  /** When the latest successful poll began; null before the first. */
  const updatedAt = ref<number | null>(null)
  /** The time as of the latest poll, from which selectors count ages. */
  const clock = ref(now())
  /** Why the latest poll failed; null after a success. */
  const failure = ref<string | null>(null)

  let timer: ReturnType<typeof setTimeout> | undefined
  let inFlight = false
  let failures = 0
  let stopped = false
  const isStopped = () => stopped

  async function refresh() {
    if (inFlight || isStopped()) return

    inFlight = true
    clearTimeout(timer)
    const requestedAt = now()
    clock.value = requestedAt

    let waitMs = REFRESH_MS
    try {
      await poll(requestedAt)
      updatedAt.value = requestedAt
      failure.value = null
      failures = 0
    } catch (error) {
      const shown = errorToShow(error)
      if (shown === null) return

      failure.value = shown.message
      failures += 1
      waitMs = pauseAfter(shown, failures)
    } finally {
      inFlight = false
      clock.value = now()
      // A hidden tab waits for `visibilitychange` instead.
      if (!isStopped() && !document.hidden) timer = setTimeout(() => void refresh(), waitMs)
    }
  }

  function onVisibilityChange() {
    if (document.hidden) clearTimeout(timer)
    else void refresh()
  }

  document.addEventListener('visibilitychange', onVisibilityChange)
  onScopeDispose(() => {
    stopped = true
    clearTimeout(timer)
    document.removeEventListener('visibilitychange', onVisibilityChange)
  })
  if (!document.hidden) void refresh()

  return { updatedAt, clock, failure, refresh }
}

/** The usual pause after one failure and a second, then twice as long after each. */
function pauseAfter(error: ApiError, failures: number): number {
  const growing = REFRESH_MS * 2 ** Math.max(0, failures - 2)
  const askedForMs = (error.retryAfterSeconds ?? 0) * 1000
  return Math.min(Math.max(growing, askedForMs), LONGEST_WAIT_MS)
}
