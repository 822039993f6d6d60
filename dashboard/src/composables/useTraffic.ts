/** What the hosts with a quota have used of it. */

import { shallowRef } from 'vue'
import type { Ref } from 'vue'
import type { Api } from '../api/client'
import type { HostTraffic, Server } from '../api/wire'

/** The pause between two questions, in milliseconds: hosts tell once in two minutes. */
export const TRAFFIC_EVERY_MS = 60_000

/** `servers` are those of the list: without a quota among them, nobody asks. */
export function useTraffic(api: Api, servers: Readonly<Ref<readonly Server[]>>) {
  const traffic = shallowRef<ReadonlyMap<string, HostTraffic>>(new Map())
  let askedAt = Number.NEGATIVE_INFINITY

  /** Asks when it is time, at `now` in milliseconds. A failure leaves what was known. */
  async function load(now: number) {
    if (!servers.value.some(hasQuota)) {
      traffic.value = new Map()
      return
    }
    if (now - askedAt < TRAFFIC_EVERY_MS) return

    askedAt = now
    const hosts = await api.traffic().catch(() => null)
    if (hosts === null) return
    const limited = hosts.filter((host) => host.quota_bytes !== null)
    traffic.value = new Map(limited.map((host) => [host.server_id, host]))
  }

  return { traffic, load }
}

function hasQuota(server: Server): boolean {
  return server.settings.billing?.quota_bytes !== undefined
}
