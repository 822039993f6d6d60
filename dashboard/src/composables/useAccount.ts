/** The account: who is logged in, and what the account's role allows. */

import { computed, ref } from 'vue'
import type { Api } from '../api/client'
import type { Account } from '../api/wire'

export function useAccount(api: Api) {
  /** Null before the first answer. */
  const account = ref<Account | null>(null)

  /** Why the user cannot change flags; null when the user can. */
  const lockedReason = computed(() => {
    if (account.value === null) return 'Your role is not known yet.'
    if (account.value.role === 'readonly') {
      return 'Your role is readonly: only admins can change flags.'
    }
    return null
  })

  /**
   * Asks for the account unless the answer is known: a change of the role ends the token.
   */
  async function load() {
    account.value ??= await api.account()
  }

  return { account, lockedReason, load }
}
