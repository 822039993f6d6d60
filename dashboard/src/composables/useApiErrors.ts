/** What an error means to the page: something to show, the end of the session, or nothing. */

import { onScopeDispose } from 'vue'
import { ApiError } from '../api/client'

/**
 * Gives the function that each `catch` around a request asks for the error to show. The answer is
 * null when there is nothing to show: the surrounding scope is disposed because the user has left
 * the page, or the token is no longer good, in which case `onUnauthorized` has been called.
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

function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error

  // A bug of the page: the developers' console shows where.
  console.error(error)
  return new ApiError('Something went wrong in this page. Reload it.', null)
}
