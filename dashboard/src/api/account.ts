/** Requests about who is logged in. */

import type { Requests } from './requests'
import { read } from './requests'
import { shaped } from './shape'
import { ACCOUNT, TOKEN } from './wire'
import type { Account } from './wire'

/** Logging in, and who one is. */
export interface AccountApi {
  /** Trades a password, and a code where the user has a second factor, for a bearer token. */
  login(username: string, password: string, code: string | null): Promise<string>
  account(): Promise<Account>
}

export function accountApi({ send, get }: Requests): AccountApi {
  return {
    async login(username, password, code) {
      const response = await send('token', {
        method: 'POST',
        body: new URLSearchParams({ username, password, ...(code === null ? {} : { code }) }),
      })
      return (await read(response, shaped(TOKEN))).access_token
    },

    account: () => get('me', shaped(ACCOUNT)),
  }
}
