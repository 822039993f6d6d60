import { describe, expect, test } from 'vitest'
import { ApiError } from '../../src/api/client'
import type { ServerList } from '../../src/api/client'
import { REFRESH_MS } from '../../src/composables/usePolling'
import { ADMIN, UNREACHABLE, aServer, anApi, deferred, setHidden } from '../support'
import { listOf, pass, settle, useFleetForTest } from './fleet'

const { start, stop, onUnauthorized } = useFleetForTest()

describe('refreshing', () => {
  test('the first list is asked for at once, with the account', async () => {
    const api = anApi()
    const fleet = start(api)
    expect(fleet.updatedAt.value).toBeNull()
    await settle()
    expect(fleet.account.value).toEqual(ADMIN)
    expect(fleet.servers.value).toEqual([aServer()])
    expect(fleet.updatedAt.value).toBe(Date.now())
  })

  test('the list is asked for again every five seconds, the account is not', async () => {
    const api = anApi()
    start(api)
    await settle()
    await pass(REFRESH_MS - 1)
    expect(api.servers).toHaveBeenCalledTimes(1)
    await pass(1)
    expect(api.servers).toHaveBeenCalledTimes(2)
    await pass(3 * REFRESH_MS)
    expect(api.servers).toHaveBeenCalledTimes(5)
    expect(api.account).toHaveBeenCalledTimes(1)
  })

  test('two requests are never in flight', async () => {
    const api = anApi()
    const slow = deferred<ServerList | null>()
    api.servers.mockReturnValueOnce(slow.promise)
    start(api)
    await pass(4 * REFRESH_MS)
    setHidden(true)
    setHidden(false)
    await settle()
    expect(api.servers).toHaveBeenCalledTimes(1)
    slow.resolve(listOf())
    await pass(REFRESH_MS)
    expect(api.servers).toHaveBeenCalledTimes(2)
  })

  test('a hidden tab does not refresh, and does so at once when it is shown', async () => {
    const api = anApi()
    start(api)
    await settle()
    setHidden(true)
    await pass(10 * REFRESH_MS)
    expect(api.servers).toHaveBeenCalledTimes(1)
    setHidden(false)
    await settle()
    expect(api.servers).toHaveBeenCalledTimes(2)
    await pass(REFRESH_MS)
    expect(api.servers).toHaveBeenCalledTimes(3)
  })

  test('a tab that was hidden while a list was on its way asks for no further one', async () => {
    const api = anApi()
    const slow = deferred<ServerList | null>()
    api.servers.mockReturnValueOnce(slow.promise)
    start(api)
    await settle()
    setHidden(true)
    slow.resolve(listOf())
    await pass(3 * REFRESH_MS)
    expect(api.servers).toHaveBeenCalledTimes(1)
  })

  test('a tab that was opened in the background waits until it is shown', async () => {
    setHidden(true)
    const api = anApi()
    start(api)
    await pass(REFRESH_MS)
    expect(api.servers).not.toHaveBeenCalled()
    setHidden(false)
    await settle()
    expect(api.servers).toHaveBeenCalledTimes(1)
  })

  test('nothing is asked for after the end', async () => {
    const api = anApi()
    start(api)
    await settle()
    stop()
    await pass(3 * REFRESH_MS)
    setHidden(true)
    setHidden(false)
    await settle()
    expect(api.servers).toHaveBeenCalledTimes(1)
  })
})

describe('outages', () => {
  test('the last list stays, with its time, until the API is back by itself', async () => {
    const api = anApi()
    const fleet = start(api)
    await settle()
    const lastSeen = fleet.updatedAt.value
    api.servers.mockRejectedValueOnce(UNREACHABLE)
    await pass(REFRESH_MS)
    expect(fleet.failure.value).toBe('Fleetbeat cannot be reached.')
    expect(fleet.servers.value).toHaveLength(1)
    expect(fleet.updatedAt.value).toBe(lastSeen)
    expect(fleet.clock.value).toBe(Date.now())
    await pass(REFRESH_MS)
    expect(fleet.failure.value).toBeNull()
    expect(fleet.updatedAt.value).toBe(Date.now())
  })

  test('an outage at the start heals too', async () => {
    const api = anApi()
    api.account.mockRejectedValueOnce(new ApiError('Fleetbeat has a problem.', 500))
    const fleet = start(api)
    await settle()
    expect(fleet.failure.value).toBe('Fleetbeat has a problem.')
    await pass(REFRESH_MS)
    expect(fleet.failure.value).toBeNull()
    expect(fleet.account.value).toEqual(ADMIN)
  })

  test('Retry-After is obeyed, up to a minute', async () => {
    const api = anApi()
    api.servers.mockRejectedValueOnce(new ApiError('Too busy.', 503, 20))
    api.servers.mockRejectedValueOnce(new ApiError('Too busy.', 503, 86_400))
    start(api)
    await pass(20_000 - 1)
    expect(api.servers).toHaveBeenCalledTimes(1)
    await pass(1)
    expect(api.servers).toHaveBeenCalledTimes(2)
    await pass(60_000)
    expect(api.servers).toHaveBeenCalledTimes(3)
  })

  test('the pauses grow while the API stays away, and are short again when it is back', async () => {
    const api = anApi()
    api.servers.mockRejectedValue(UNREACHABLE)
    start(api)
    await settle()
    for (const [pause, calls] of [
      [5_000, 2],
      [5_000, 3],
      [10_000, 4],
      [20_000, 5],
      [40_000, 6],
      [60_000, 7],
      [60_000, 8],
    ] as const) {
      await pass(pause - 1)
      expect(api.servers).toHaveBeenCalledTimes(calls - 1)
      await pass(1)
      expect(api.servers).toHaveBeenCalledTimes(calls)
    }
    api.servers.mockResolvedValue(listOf())
    await pass(60_000 + REFRESH_MS)
    expect(api.servers).toHaveBeenCalledTimes(10)
  })

  test('a token that is no longer good is told, not shown as an outage', async () => {
    const api = anApi()
    api.servers.mockRejectedValue(new ApiError('expired', 401))
    const fleet = start(api)
    await settle()
    expect(onUnauthorized).toHaveBeenCalledTimes(1)
    expect(fleet.failure.value).toBeNull()
  })

  test('a token that ends after logging out bothers nobody', async () => {
    const api = anApi()
    const slow = deferred<ServerList | null>()
    api.servers.mockReturnValue(slow.promise)
    start(api)
    await settle()
    stop()
    slow.reject(new ApiError('expired', 401))
    await settle()
    expect(onUnauthorized).not.toHaveBeenCalled()
  })
})
