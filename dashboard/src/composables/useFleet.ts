/**
 * The fleet as it is shown: the last list that the API gave, with the user's own edits on top.
 *
 * Edits are kept apart from the list, so no refresh can undo one, whenever it was requested: an edit covers
 * the list while it is being saved, and for a little longer (see `HOLD_MS`); dropping it is the rollback.
 */

import { computed, onScopeDispose, ref, shallowRef } from 'vue'
import { ApiError } from '../api/client'
import type { Api } from '../api/client'
import type { Account, Flag, Server } from '../api/wire'

export const REFRESH_MS = 5_000
const LONGEST_WAIT_MS = 60_000

/**
 * Lists requested sooner than this after an edit was saved may be older than the edit: the API serves them
 * from a snapshot that is up to a second old, maybe another instance's.
 */
export const HOLD_MS = 3_000

interface Edit {
  ip: string
  flag: Flag
  value: boolean
  /** Lists requested before this time do not count; infinite while the edit is being saved. */
  heldUntil: number
}

export type Fleet = ReturnType<typeof useFleet>

/** Polls until the surrounding scope is disposed. `onUnauthorized` is called when the token is no longer good. */
export function useFleet(api: Api, onUnauthorized: () => void, now: () => number = Date.now) {
  const account = ref<Account | null>(null)
  const listed = shallowRef<Server[]>([])
  const edits = shallowRef<Edit[]>([])
  /** When the fleet last was as shown; null before the first list. */
  const updatedAt = ref<number | null>(null)
  /** The time as of the latest refresh, for ages: one clock for all rows. */
  const clock = ref(now())
  /** Why the list is not up to date. */
  const failure = ref<string | null>(null)
  /** Why the last edit was undone. */
  const editFailure = ref<string | null>(null)

  const servers = computed(() => withEdits(listed.value, edits.value))
  const saving = computed(
    () =>
      new Set(
        edits.value
          .filter((edit) => edit.heldUntil === Infinity)
          .map((edit) => editKey(edit.ip, edit.flag)),
      ),
  )

  let etag: string | null = null
  let timer: ReturnType<typeof setTimeout> | undefined
  let inFlight = false
  let stopped = false
  const isStopped = () => stopped

  async function refresh() {
    if (inFlight || isStopped()) return
    inFlight = true
    clearTimeout(timer)
    const requestedAt = now()
    clock.value = requestedAt
    let waitMs = REFRESH_MS
    try {
      // A changed role ends the token, so asking once is enough.
      account.value ??= await api.account()
      const list = await api.servers(etag)
      if (list !== null) {
        listed.value = list.servers
        etag = list.etag
      }
      edits.value = edits.value.filter((edit) => edit.heldUntil > requestedAt)
      updatedAt.value = requestedAt
      failure.value = null
    } catch (error) {
      if (isStopped()) return
      const problem = asApiError(error)
      if (problem.status === 401) return onUnauthorized()
      failure.value = problem.message
      waitMs = Math.min(
        Math.max(REFRESH_MS, (problem.retryAfterSeconds ?? 0) * 1000),
        LONGEST_WAIT_MS,
      )
    } finally {
      inFlight = false
      clock.value = now()
      // A hidden tab waits for `visibilitychange` instead.
      if (!isStopped() && !document.hidden) timer = setTimeout(refresh, waitMs)
    }
  }

  async function setFlag(server: Server, flag: Flag, value: boolean) {
    const { ip, hostname } = server
    // Two requests for one flag could overtake each other.
    if (isSaving(ip, flag)) return
    editFailure.value = null
    putEdit({ ip, flag, value, heldUntil: Infinity })
    try {
      const saved = await api.setFlags(ip, { [flag]: value })
      putEdit({ ip, flag, value: saved[flag], heldUntil: now() + HOLD_MS })
      listed.value = listed.value.map((other) => (other.ip === saved.ip ? saved : other))
      // What is shown is no longer what the ETag stood for.
      etag = null
    } catch (error) {
      dropEdit(ip, flag)
      if (isStopped()) return
      const problem = asApiError(error)
      if (problem.status === 401) return onUnauthorized()
      editFailure.value = `“${flag}” of ${hostname || ip} was not changed: ${problem.message}`
      // The change may have been made and only its answer lost.
      void refresh()
    }
  }

  function isSaving(ip: string, flag: Flag) {
    return saving.value.has(editKey(ip, flag))
  }

  function putEdit(edit: Edit) {
    dropEdit(edit.ip, edit.flag)
    edits.value = [...edits.value, edit]
  }

  function dropEdit(ip: string, flag: Flag) {
    edits.value = edits.value.filter((edit) => edit.ip !== ip || edit.flag !== flag)
  }

  function onVisibilityChange() {
    if (document.hidden) clearTimeout(timer)
    else void refresh()
  }

  document.addEventListener('visibilitychange', onVisibilityChange)
  onScopeDispose(() => {
    stopped = true
    clearTimeout(timer)
    document.removeEventListener('visibilitychange', onVisibilityChange)
  })
  if (!document.hidden) void refresh()

  function dismissEditFailure() {
    editFailure.value = null
  }

  return {
    account,
    servers,
    updatedAt,
    clock,
    failure,
    editFailure,
    setFlag,
    isSaving,
    dismissEditFailure,
  }
}

function withEdits(servers: Server[], edits: Edit[]): Server[] {
  if (edits.length === 0) return servers
  return servers.map((server) => {
    const own = edits.filter((edit) => edit.ip === server.ip)
    return own.length === 0
      ? server
      : { ...server, ...Object.fromEntries(own.map(({ flag, value }) => [flag, value])) }
  })
}

function editKey(ip: string, flag: Flag) {
  return `${ip} ${flag}`
}

function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  // A bug of ours: for the console, too.
  console.error(error)
  return new ApiError('Something went wrong in this page. Reload it.', null)
}
