import { expect, test } from 'vitest'
import { REFRESH_MS } from '../../src/composables/usePolling'
import { aServer, anApi } from '../support'
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
