import { describe, expect, test } from 'vitest'
import { ApiError } from '../../src/api/client'
import type { ServerList } from '../../src/api/client'
import type { Server } from '../../src/api/wire'
import { HOLD_MS } from '../../src/composables/useFlagEdits'
import { REFRESH_MS } from '../../src/composables/usePolling'
import { UNREACHABLE, aServer, anApi, deferred } from '../support'
import { listOf, pass, settle, useFleetForTest } from './fleet'

const { start, onUnauthorized } = useFleetForTest()

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
    expect(fleet.isSaving(before.server_id, 'gaming')).toBe(true)
    expect(fleet.isSaving(before.server_id, 'paid')).toBe(false)
    expect(api.setFlags).toHaveBeenCalledWith('srv-0a1b2c3d', { gaming: true })
    saved.resolve(after)
    await settle()
    expect(gaming()).toBe(true)
    expect(fleet.isSaving(before.server_id, 'gaming')).toBe(false)
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
