/**
 * Polling: asks every few seconds, waits longer when the API asks for a longer pause, and
 * rests while the browser's tab is hidden. Two polls never run at once.
 */

import { onScopeDispose, ref } from 'vue'
import type { ApiError } from '../api/client'

/** The usual pause between two requests, in milliseconds. */
export const REFRESH_MS = 5_000
/** The longest pause that the API can ask for with Retry-After, in milliseconds. */
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
  /** The time as of the latest poll. All rows count their ages from this one clock. */
  const clock = ref(now())
  /** Why the latest poll failed; null after a success. */
  const failure = ref<string | null>(null)

  let timer: ReturnType<typeof setTimeout> | undefined
  let inFlight = false
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
    } catch (error) {
      const shown = errorToShow(error)
      if (shown === null) return

      failure.value = shown.message
      waitMs = pauseAfter(shown)
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

function pauseAfter(error: ApiError): number {
  const askedForMs = (error.retryAfterSeconds ?? 0) * 1000
  return Math.min(Math.max(REFRESH_MS, askedForMs), LONGEST_WAIT_MS)
}
