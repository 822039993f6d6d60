/** Requests about hosts. */

import { read, withJson } from './requests'
import type { Requests } from './requests'
import { listOf, shaped } from './shape'
import { BULK_ANSWER, MATCHED_HOSTS, SERVER, TRAFFIC, isChanges } from './wire'
import type { BulkAnswer, BulkSet, Changes, Flags, HostTraffic, MatchedHosts, Server } from './wire'

/** How long a change of many hosts may take, in milliseconds. */
const BULK_DEADLINE_MS = 120_000

/** An answer to `GET /servers`, with the name that the API gives the list. */
export interface ServerList {
  servers: Server[]
  etag: string | null
}

/** The list, its changes, and what admins set. */
export interface FleetApi {
  /** All servers; null when nothing has changed since the list that came with `etag`. */
  servers(etag: string | null): Promise<ServerList | null>
  /** What has changed since the answer with this cursor; null for the first question. */
  changes(cursor: string | null): Promise<Changes>
  /** What each host has used of its present billing cycle. */
  traffic(): Promise<HostTraffic[]>
  /** Sets some flags of a server and gives the server's updated record. */
  setFlags(serverId: string, flags: Partial<Flags>): Promise<Server>
  /** The hosts that a change of many would be about. */
  matchedHosts(select: string, set: BulkSet): Promise<MatchedHosts>
  /** Changes many hosts, if `expect` hosts are meant; else fails with 409. */
  setMany(select: string, set: BulkSet, expect: number): Promise<BulkAnswer>
}

export function fleetApi({ send, get, call }: Requests): FleetApi {
  return {
    async servers(etag) {
      const response = await send('servers?all_servers=true', {
        headers: etag === null ? {} : { 'If-None-Match': etag },
      })
      if (response.status === 304) return null
      const servers = await read(response, listOf(SERVER))
      return { servers, etag: response.headers.get('ETag') }
    },

    changes(cursor) {
      const since = cursor === null ? '' : `?since=${encodeURIComponent(cursor)}`
      return get(`servers/changes${since}`, isChanges)
    },

    async traffic() {
      return (await get('traffic', shaped(TRAFFIC))).servers
    },

    setFlags(serverId, flags) {
      const path = `server/${encodeURIComponent(serverId)}/config`
      return call('PATCH', path, flags, shaped(SERVER))
    },

    matchedHosts(select, set) {
      return call('POST', 'servers/bulk', { select, set, dry_run: true }, shaped(MATCHED_HOSTS))
    },

    async setMany(select, set, expect) {
      const response = await send('servers/bulk', {
        ...withJson('POST', { select, set, expect }),
        deadlineMs: BULK_DEADLINE_MS,
      })
      return read(response, shaped(BULK_ANSWER))
    },
  }
}
