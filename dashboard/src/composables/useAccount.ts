/** The account: who is logged in, and what the account's role allows. */

import { computed, ref } from 'vue'
import { refusalOf } from '../access'
import type { Api } from '../api/client'
import type { Account } from '../api/wire'

export function useAccount(api: Api) {
  /** Null before the first answer. */
  const account = ref<Account | null>(null)

  /** Why the user cannot change flags; null when the user can. */
  const lockedReason = computed(() => refusalOf(account.value, 'hosts.change'))

  /**
   * Asks for the account unless the answer is known: a change of the role ends the token.
   */
  async function load() {
    account.value ??= await api.account()
  }

  return { account, lockedReason, load }
}
