/** The list of servers as the API gave it last. */

import { shallowRef } from 'vue'
import type { Api } from '../api/client'
import type { Server } from '../api/wire'

/** The list, and the two ways to change it. */
export type ListedServers = ReturnType<typeof useServerList>

export function useServerList(api: Api) {
  const listed = shallowRef<Server[]>([])
  /** The list's ETag; null when the API gave none, or when the list was changed here. */
  let etag: string | null = null

  /**
   * Asks for the list. When nothing has changed, the API sends no list, and the old one
   * stays.
   */
  async function load() {
    const answer = await api.servers(etag)
    if (answer === null) return

    listed.value = answer.servers
    etag = answer.etag
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
