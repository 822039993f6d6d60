import { describe, expect, test } from 'vitest'
import { REFRESH_MS } from '../../src/composables/usePolling'
import { changedList } from '../../src/composables/useServerList'
import { UNREACHABLE, aServer, anApi } from '../support'
import { pass, settle, useFleetForTest } from './fleet'

const { start } = useFleetForTest()

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

test('an edit makes the next list complete: the ETag no longer stands for what is shown', async () => {
  const before = aServer({ gaming: false })
  const after = aServer({ gaming: true })
  const api = anApi([before])
  api.servers.mockResolvedValue({ servers: [before], etag: '"1"' })
  const fleet = start(api)
  await settle()
  api.setFlags.mockResolvedValueOnce(after)
  await fleet.setFlag(before, 'gaming', true)
  await pass(REFRESH_MS)
  expect(api.servers).toHaveBeenLastCalledWith(null)
})

test('after the list only what has changed is asked for', async () => {
  const before = aServer()
  const after = aServer({ hostname: 'renamed' })
  const api = anApi([before])
  api.changes
    .mockResolvedValueOnce({ reset: true, cursor: 'c-1' })
    .mockResolvedValueOnce({ changed: [after], removed: [], cursor: 'c-2' })
    .mockResolvedValue({ changed: [], removed: [], cursor: 'c-3' })
  const fleet = start(api)
  await settle()
  expect(fleet.servers.value).toEqual([before])
  await pass(REFRESH_MS)
  expect(fleet.servers.value).toEqual([after])
  const shown = fleet.servers.value
  await pass(REFRESH_MS)
  expect(fleet.servers.value).toBe(shown)
  expect(api.changes.mock.calls.map(([cursor]) => cursor)).toEqual([null, 'c-1', 'c-2'])
  expect(api.servers).toHaveBeenCalledTimes(1)
})

test('a list that fails after a reset is asked for again', async () => {
  const api = anApi()
  api.servers.mockRejectedValueOnce(UNREACHABLE)
  const fleet = start(api)
  await settle()
  await pass(REFRESH_MS)
  expect(api.changes.mock.calls.map(([cursor]) => cursor)).toEqual([null, null])
  expect(fleet.servers.value).toHaveLength(1)
})

describe('changes', () => {
  const a = aServer({ server_id: 'a', ip: '10.0.0.1' })
  const b = aServer({ server_id: 'b', ip: '10.0.0.2' })

  test('replace in place, and add at the end', () => {
    const newer = { ...a, hostname: 'newer' }
    const c = aServer({ server_id: 'c', ip: '10.0.0.3' })
    expect(changedList([a, b], [c, newer], new Set())).toEqual([newer, b, c])
  })

  test('remove by address', () => {
    expect(changedList([a, b], [], new Set(['10.0.0.1']))).toEqual([b])
  })

  test('keep a host that has moved, though its old address is gone', () => {
    const moved = { ...a, ip: '10.0.0.9' }
    expect(changedList([a, b], [moved], new Set(['10.0.0.1']))).toEqual([moved, b])
  })

  test('let a host go whose address another one has now', () => {
    const other = aServer({ server_id: 'z', ip: '10.0.0.1' })
    expect(changedList([a, b], [other], new Set())).toEqual([b, other])
  })

  test('let two hosts exchange addresses', () => {
    const swapped = [
      { ...a, ip: b.ip },
      { ...b, ip: a.ip },
    ]
    expect(changedList([a, b], swapped, new Set())).toEqual(swapped)
  })
})
