import { beforeEach, describe, expect, test } from 'vitest'
import { shallowRef } from 'vue'
import type { Server } from '../../src/api/wire'
import { TRAFFIC_EVERY_MS, useTraffic } from '../../src/composables/useTraffic'
import { UNREACHABLE, aServer, anApi, someTraffic } from '../support'

describe('useTraffic', () => {
  const limited = aServer({ settings: { billing: { quota_bytes: 1e12 } } })
  const servers = shallowRef<Server[]>([])
  beforeEach(() => {
    servers.value = [limited]
  })

  test('asks once a minute for hosts with a quota', async () => {
    const api = anApi()
    api.traffic.mockResolvedValue([
      someTraffic(),
      someTraffic({ server_id: 'srv-other', quota_bytes: null, over_quota: null }),
    ])
    const { traffic, load } = useTraffic(api, servers)
    await load(0)
    expect([...traffic.value.keys()]).toEqual([limited.server_id])
    await load(TRAFFIC_EVERY_MS - 1)
    expect(api.traffic).toHaveBeenCalledTimes(1)
    await load(TRAFFIC_EVERY_MS)
    expect(api.traffic).toHaveBeenCalledTimes(2)
  })

  test('asks for nothing where no host has a quota', async () => {
    servers.value = [aServer({ settings: {} })]
    const api = anApi()
    const { traffic, load } = useTraffic(api, servers)
    await load(0)
    expect(api.traffic).not.toHaveBeenCalled()
    expect(traffic.value.size).toBe(0)
  })

  test('keeps what was known when it cannot ask', async () => {
    const api = anApi()
    api.traffic.mockResolvedValueOnce([someTraffic()]).mockRejectedValueOnce(UNREACHABLE)
    const { traffic, load } = useTraffic(api, servers)
    await load(0)
    await load(TRAFFIC_EVERY_MS)
    expect(traffic.value.size).toBe(1)
  })
})
