/**
 * Most tests of composables go through `useFleet`, as the page does, because the hard
 * cases are races between polling, list and edits.
 */

import { afterEach, beforeEach, vi } from 'vitest'
import { effectScope } from 'vue'
import type { EffectScope } from 'vue'
import type { ServerList } from '../../src/api/client'
import type { Server } from '../../src/api/wire'
import { useFleet } from '../../src/composables/useFleet'
import type { Fleet } from '../../src/composables/useFleet'
import { setHidden } from '../support'
import type { ApiForTest } from '../support'

/**
 * Gives each test of the calling file a scope of its own and a clock that only the test
 * moves.
 */
export function useFleetForTest() {
  let scope: EffectScope
  const onUnauthorized = vi.fn<() => void>()

  beforeEach(() => {
    vi.useFakeTimers()
    scope = effectScope()
    onUnauthorized.mockReset()
  })

  afterEach(() => {
    scope.stop()
    setHidden(false)
    vi.useRealTimers()
  })

  function start(api: ApiForTest): Fleet {
    const fleet = scope.run(() => useFleet(api, onUnauthorized))
    if (fleet === undefined) throw new Error('the scope has ended')
    return fleet
  }

  /** As if the user left the page. */
  function stop() {
    scope.stop()
  }

  return { start, stop, onUnauthorized }
}

/** Lets everything happen that needs no time. */
export async function settle() {
  await vi.advanceTimersByTimeAsync(0)
}

export async function pass(ms: number) {
  await vi.advanceTimersByTimeAsync(ms)
}

export function listOf(...servers: Server[]): ServerList {
  return { servers, etag: null }
}
