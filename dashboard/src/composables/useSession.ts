/** The session: the token, kept over reloads and shared by the browser's tabs. */

import { readonly, ref } from 'vue'

const TOKEN_KEY = 'fleetbeat.token'

/** The token and the notice, and how a session begins and ends. */
export type Session = ReturnType<typeof useSession>

/**
 * Reads the token from the storage, and keeps the token there. The page calls this once.
 */
export function useSession(storage: Storage) {
  /** Null when nobody is logged in. */
  const token = ref(storage.getItem(TOKEN_KEY))
  /** Why the user has to log in again; null when there is no reason to tell. */
  const notice = ref<string | null>(null)

  function start(newToken: string) {
    storage.setItem(TOKEN_KEY, newToken)
    token.value = newToken
    notice.value = null
  }

  function end(reason: string | null = null) {
    storage.removeItem(TOKEN_KEY)
    token.value = null
    notice.value = reason
  }

  // Browsers tell each tab of what the other tabs have stored. So a login or log-out in
  // another tab is one in this tab, too.
  window.addEventListener('storage', (event) => {
    if (event.storageArea !== storage || (event.key !== TOKEN_KEY && event.key !== null)) return
    token.value = storage.getItem(TOKEN_KEY)
    notice.value = null
  })

  return { token: readonly(token), notice: readonly(notice), start, end }
}
