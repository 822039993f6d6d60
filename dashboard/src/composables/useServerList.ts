/** The list of servers as the API gave it last. */

import { shallowRef } from 'vue'
import type { Api } from '../api/client'
import type { Server } from '../api/wire'

/** The list, and the two ways to change it. */
export type ListedServers = ReturnType<typeof useServerList>

export function useServerList(api: Api) {
  const listed = shallowRef<Server[]>([])
  /** What the API called this list; null when the list has been changed here, or has no name. */
  let etag: string | null = null

  /** Asks for the list. The API sends none when nothing has changed: then the same list stays. */
  async function load() {
    const answer = await api.servers(etag)
    if (answer === null) return

    listed.value = answer.servers
    etag = answer.etag
  }

  /** Puts the record into the list, in the place of the older record of the same host. */
  function replace(server: Server) {
    listed.value = listed.value.map((other) => (other.ip === server.ip ? server : other))
    // The ETag no longer stands for the list that is shown.
    etag = null
  }

  return { listed, load, replace }
}
