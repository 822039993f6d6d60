/** Who is logged in, kept over reloads and shared by the browser's tabs. */

import { readonly, ref } from 'vue'

const TOKEN_KEY = 'fleetbeat.token'

export type Session = ReturnType<typeof createSession>

export function createSession(storage: Storage) {
  const token = ref(storage.getItem(TOKEN_KEY))
  /** Why the user is to log in again. */
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

  // Fired by the other tabs only: logging in or out there does so here.
  window.addEventListener('storage', (event) => {
    if (event.storageArea !== storage || (event.key !== TOKEN_KEY && event.key !== null)) return
    token.value = storage.getItem(TOKEN_KEY)
    notice.value = null
  })

  return { token: readonly(token), notice: readonly(notice), start, end }
}
