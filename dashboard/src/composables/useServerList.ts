/**
 * The list of servers. It is read as a whole once, and then kept up to date by what has
 * changed. Where the API cannot tell what has changed, the list is read again.
 */

import { shallowRef } from 'vue'
import type { Api } from '../api/client'
import type { Delta, Server } from '../api/wire'

/** The list, and the two ways to change it. */
export type ListedServers = ReturnType<typeof useServerList>

export function useServerList(api: Api) {
  const listed = shallowRef<readonly Server[]>([])
  /** What the next question is about; null before the first answer. */
  let cursor: string | null = null
  /** The list's ETag; null when the list that is shown is not what the API gave. */
  let etag: string | null = null

  /** Brings the list up to date. */
  async function load() {
    const changes = await api.changes(cursor)
    // The cursor was made before the list: no change falls between the two.
    if ('reset' in changes) await loadAll()
    else apply(changes)
    cursor = changes.cursor
  }

  async function loadAll() {
    const answer = await api.servers(etag)
    if (answer === null) return

    listed.value = answer.servers
    etag = answer.etag
  }

  function apply({ changed, removed }: Delta) {
    if (changed.length === 0 && removed.length === 0) return

    listed.value = changedList(listed.value, changed, new Set(removed))
    etag = null
  }

  /** Puts a host's new record into the list, in the place of the host's old record. */
  function replace(server: Server) {
    listed.value = listed.value.map((other) =>
      other.server_id === server.server_id ? server : other,
    )
    // The ETag no longer stands for the list that is shown.
    etag = null
  }

  return { listed, load, replace }
}

/**
 * The list after changes. A host is told by `server_id`, and an address belongs to one
 * host: whoever had the address of a changed host before has lost it.
 */
export function changedList(
  servers: readonly Server[],
  changed: readonly Server[],
  removed: ReadonlySet<string>,
): readonly Server[] {
  const byId = new Map(changed.map((server) => [server.server_id, server]))
  const addresses = new Set(changed.map((server) => server.ip))

  const kept: Server[] = []
  for (const server of servers) {
    const newer = byId.get(server.server_id)
    if (newer !== undefined) {
      kept.push(newer)
      byId.delete(server.server_id)
    } else if (!removed.has(server.ip) && !addresses.has(server.ip)) {
      kept.push(server)
    }
  }
  return [...kept, ...byId.values()]
}
