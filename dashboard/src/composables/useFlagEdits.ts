/**
 * The user's edits of flags, on top of the list.
 *
 * The page shows an edit at once, before the API has answered. Edits are kept apart from
 * the list, so that no refresh undoes an edit, whenever the list was requested. An edit
 * covers the list while the API saves the edit, and for a little longer (see `HOLD_MS`).
 * An edit that the API refuses is dropped, and so the list's value shows again: a
 * roll-back.
 */

import { computed, ref, shallowRef } from 'vue'
import type { Api, ApiError } from '../api/client'
import type { Flag, Server } from '../api/wire'
import { visible } from '../display/text'
import { t } from '../i18n'
import type { ListedServers } from './useServerList'

/**
 * How long an edit covers the list after the API has saved the edit, in milliseconds. A
 * list requested sooner may be older than the edit, because the API serves lists from a
 * snapshot. The snapshot is up to a second old, and may be another instance's.
 */
export const HOLD_MS = 3_000

/** A flag as the user has set the flag. */
interface Edit {
  /** The host's lasting name; its address may change meanwhile. */
  serverId: string
  flag: Flag
  value: boolean
  /**
   * The edit covers lists requested before this time; infinite while the edit is being
   * saved.
   */
  heldUntil: number
}

/** Functions of the page that edits need. */
interface Surroundings {
  /** See `useApiErrors`. */
  errorToShow: (error: unknown) => ApiError | null
  /** Asks for the list now. */
  refresh: () => Promise<void>
  /** The time in milliseconds. */
  now: () => number
}

export function useFlagEdits(
  api: Api,
  { listed, replace }: ListedServers,
  { errorToShow, refresh, now }: Surroundings,
) {
  const edits = shallowRef<Edit[]>([])
  /** Why the last edit was rolled back; null when the edit was not. */
  const editFailure = ref<string | null>(null)

  /** The list with the edits on top. */
  const servers = computed(() => withEdits(listed.value, edits.value))
  const saving = computed(() => {
    const unsaved = edits.value.filter((edit) => edit.heldUntil === Infinity)
    return new Set(unsaved.map((edit) => editKey(edit.serverId, edit.flag)))
  })

  async function setFlag(server: Server, flag: Flag, value: boolean) {
    const { server_id: serverId, ip, hostname } = server
    // Two requests for one flag could overtake each other.
    if (isSaving(serverId, flag)) return

    editFailure.value = null
    putEdit({ serverId, flag, value, heldUntil: Infinity })

    try {
      const saved = await api.setFlags(serverId, { [flag]: value })
      putEdit({
        serverId,
        flag,
        value: saved[flag],
        heldUntil: now() + HOLD_MS,
      })
      replace(saved)
    } catch (error) {
      dropEdit(serverId, flag)
      const shown = errorToShow(error)
      if (shown === null) return

      editFailure.value = t('fleet.flagNotChanged', {
        flag,
        host: visible(hostname) || ip,
        reason: shown.message,
      })
      // The API may have made the change, and only the answer was lost.
      void refresh()
    }
  }

  function isSaving(serverId: string, flag: Flag) {
    return saving.value.has(editKey(serverId, flag))
  }

  /**
   * Drops the edits that need not cover a list requested at this time, in milliseconds.
   */
  function release(requestedAt: number) {
    edits.value = edits.value.filter((edit) => edit.heldUntil > requestedAt)
  }

  function putEdit(edit: Edit) {
    dropEdit(edit.serverId, edit.flag)
    edits.value = [...edits.value, edit]
  }

  function dropEdit(serverId: string, flag: Flag) {
    edits.value = edits.value.filter((edit) => edit.serverId !== serverId || edit.flag !== flag)
  }

  function dismissEditFailure() {
    editFailure.value = null
  }

  return { servers, editFailure, setFlag, isSaving, release, dismissEditFailure }
}

function withEdits(servers: readonly Server[], edits: Edit[]): readonly Server[] {
  if (edits.length === 0) return servers

  return servers.map((server) => {
    const own = edits.filter((edit) => edit.serverId === server.server_id)
    if (own.length === 0) return server

    return { ...server, ...Object.fromEntries(own.map(({ flag, value }) => [flag, value])) }
  })
}

function editKey(serverId: string, flag: Flag) {
  return `${serverId} ${flag}`
}
