import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { effectScope } from 'vue'
import type { EffectScope } from 'vue'
import { ApiError } from '../../src/api/client'
import type { ServerList } from '../../src/api/client'
import { HOLD_MS, REFRESH_MS, useFleet } from '../../src/composables/useFleet'
import type { Server } from '../../src/api/wire'
import { ADMIN, UNREACHABLE, aServer, anApi, deferred, setHidden } from '../support'

let scope: EffectScope
let onUnauthorized: ReturnType<typeof vi.fn<() => void>>

beforeEach(() => {
  vi.useFakeTimers()
  scope = effectScope()
  onUnauthorized = vi.fn<() => void>()
})

afterEach(() => {
  scope.stop()
  setHidden(false)
  vi.useRealTimers()
})

function start(api: ReturnType<typeof anApi>) {
  const fleet = scope.run(() => useFleet(api, onUnauthorized))
  if (fleet === undefined) throw new Error('the scope has ended')
  return fleet
}

/** Lets everything happen that needs no time. */
async function settle() {
  await vi.advanceTimersByTimeAsync(0)
}

async function pass(ms: number) {
  await vi.advanceTimersByTimeAsync(ms)
}

function listOf(...servers: Server[]): ServerList {
  return { servers, etag: null }
}

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

  test('a list that did not change is kept, and counts as up to date', async () => {
    const api = anApi()
    api.servers
      .mockResolvedValueOnce({ servers: [aServer()], etag: '"1"' })
      .mockResolvedValueOnce(null)
    const fleet = start(api)
    await settle()
    const before = fleet.servers.value
    await pass(REFRESH_MS)
    expect(api.servers).toHaveBeenLastCalledWith('"1"')
    expect(fleet.servers.value).toBe(before)
    expect(fleet.updatedAt.value).toBe(Date.now())
  })

  test('nothing is asked for after the end', async () => {
    const api = anApi()
    start(api)
    await settle()
    scope.stop()
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
    scope.stop()
    slow.reject(new ApiError('expired', 401))
    await settle()
    expect(onUnauthorized).not.toHaveBeenCalled()
  })
})

describe('setting a flag', () => {
  const before = aServer({ gaming: false })
  const after = aServer({ gaming: true })

  async function startWith(api: ReturnType<typeof anApi>) {
    const fleet = start(api)
    await settle()
    return { fleet, gaming: () => fleet.servers.value[0]?.gaming }
  }

  test('shows at once and is saved', async () => {
    const api = anApi([before])
    const saved = deferred<Server>()
    api.setFlags.mockReturnValueOnce(saved.promise)
    const { fleet, gaming } = await startWith(api)
    void fleet.setFlag(before, 'gaming', true)
    expect(gaming()).toBe(true)
    expect(fleet.isSaving(before.ip, 'gaming')).toBe(true)
    expect(fleet.isSaving(before.ip, 'paid')).toBe(false)
    expect(api.setFlags).toHaveBeenCalledWith('1.2.3.4', { gaming: true })
    saved.resolve(after)
    await settle()
    expect(gaming()).toBe(true)
    expect(fleet.isSaving(before.ip, 'gaming')).toBe(false)
  })

  test('takes over the whole record that was answered', async () => {
    const api = anApi([before])
    api.setFlags.mockResolvedValueOnce({ ...after, paid: true, hostname: 'renamed' })
    const { fleet } = await startWith(api)
    await fleet.setFlag(before, 'gaming', true)
    expect(fleet.servers.value).toEqual([{ ...after, paid: true, hostname: 'renamed' }])
  })

  test('is undone with a message when it fails', async () => {
    const api = anApi([before])
    api.setFlags.mockRejectedValueOnce(
      new ApiError('Fleetbeat has a problem: HTTP status 500.', 500),
    )
    const { fleet, gaming } = await startWith(api)
    await fleet.setFlag(before, 'gaming', true)
    expect(gaming()).toBe(false)
    expect(fleet.editFailure.value).toBe(
      '“gaming” of vpn-de-01 was not changed: Fleetbeat has a problem: HTTP status 500.',
    )
    api.setFlags.mockResolvedValueOnce(after)
    await fleet.setFlag(before, 'gaming', true)
    expect(fleet.editFailure.value).toBeNull()
  })

  test('asks for the list after a failure: only the answer may have been lost', async () => {
    const api = anApi([before])
    const { fleet, gaming } = await startWith(api)
    api.setFlags.mockRejectedValueOnce(UNREACHABLE)
    api.servers.mockResolvedValueOnce(listOf(after))
    await fleet.setFlag(before, 'gaming', true)
    await settle()
    expect(gaming()).toBe(true)
  })

  test('ends the session when the token is no longer good', async () => {
    const api = anApi([before])
    api.setFlags.mockRejectedValueOnce(new ApiError('expired', 401))
    const { fleet } = await startWith(api)
    await fleet.setFlag(before, 'gaming', true)
    expect(onUnauthorized).toHaveBeenCalledTimes(1)
    expect(fleet.editFailure.value).toBeNull()
  })

  test('is not undone by a list that was asked for before and comes while it is being saved', async () => {
    const api = anApi([before])
    const { fleet, gaming } = await startWith(api)
    const list = deferred<ServerList | null>()
    const saved = deferred<Server>()
    api.servers.mockReturnValueOnce(list.promise)
    api.setFlags.mockReturnValueOnce(saved.promise)
    await pass(REFRESH_MS)
    void fleet.setFlag(before, 'gaming', true)
    list.resolve(listOf(before))
    await settle()
    expect(gaming()).toBe(true)
    saved.resolve(after)
    await settle()
    expect(gaming()).toBe(true)
  })

  test('is not undone by a list that was asked for before and comes after it was saved', async () => {
    const api = anApi([before])
    const { fleet, gaming } = await startWith(api)
    const list = deferred<ServerList | null>()
    api.servers.mockReturnValueOnce(list.promise)
    api.setFlags.mockResolvedValueOnce(after)
    await pass(REFRESH_MS)
    await fleet.setFlag(before, 'gaming', true)
    await pass(2 * HOLD_MS)
    list.resolve(listOf(before))
    await settle()
    expect(gaming()).toBe(true)
  })

  test('is not undone by a list from a snapshot that is older than the edit', async () => {
    const api = anApi([before])
    const { fleet, gaming } = await startWith(api)
    api.setFlags.mockResolvedValueOnce(after)
    await pass(REFRESH_MS - 1)
    await fleet.setFlag(before, 'gaming', true)
    await pass(1)
    expect(api.servers).toHaveBeenCalledTimes(2)
    expect(gaming()).toBe(true)
  })

  test('gives way to what others set later', async () => {
    const api = anApi([before])
    const { fleet, gaming } = await startWith(api)
    api.setFlags.mockResolvedValueOnce(after)
    await fleet.setFlag(before, 'gaming', true)
    await pass(REFRESH_MS)
    expect(gaming()).toBe(false)
  })

  test('makes the next list complete: the ETag no longer stands for what is shown', async () => {
    const api = anApi([before])
    api.servers.mockResolvedValue({ servers: [before], etag: '"1"' })
    const { fleet } = await startWith(api)
    api.setFlags.mockResolvedValueOnce(after)
    await fleet.setFlag(before, 'gaming', true)
    await pass(REFRESH_MS)
    expect(api.servers).toHaveBeenLastCalledWith(null)
  })

  test('ignores a second click while the first is being saved', async () => {
    const api = anApi([before])
    const { fleet, gaming } = await startWith(api)
    api.setFlags.mockReturnValueOnce(deferred<Server>().promise)
    void fleet.setFlag(before, 'gaming', true)
    void fleet.setFlag(before, 'gaming', false)
    expect(api.setFlags).toHaveBeenCalledTimes(1)
    expect(gaming()).toBe(true)
  })

  test('leaves another flag of the same server alone that is still being saved', async () => {
    const api = anApi([before])
    const { fleet } = await startWith(api)
    const slow = deferred<Server>()
    api.setFlags.mockReturnValueOnce(slow.promise).mockResolvedValueOnce(aServer({ paid: true }))
    void fleet.setFlag(before, 'gaming', true)
    await fleet.setFlag(before, 'paid', true)
    expect(fleet.servers.value[0]).toMatchObject({ gaming: true, paid: true })
    slow.reject(UNREACHABLE)
    await settle()
    expect(fleet.servers.value[0]).toMatchObject({ gaming: false, paid: true })
  })
})
