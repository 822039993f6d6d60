/** What an error means to the page: a message, the end of the session, or nothing. */

import { onScopeDispose } from 'vue'
import type { ApiError } from '../api/client'
import { asApiError } from '../query'

/**
 * Gives the function `errorToShow` for each `catch` around a request. The function gives
 * null when there is nothing to show: because the surrounding scope is disposed (the user
 * has left the view), or because the token is no longer good. In the second case the
 * function calls `onUnauthorized`.
 */
export function useApiErrors(onUnauthorized: () => void) {
  let stopped = false
  onScopeDispose(() => {
    stopped = true
  })

  return function errorToShow(error: unknown): ApiError | null {
    if (stopped) return null

    const apiError = asApiError(error)
    if (apiError.status !== 401) return apiError

    onUnauthorized()
    return null
  }
}
