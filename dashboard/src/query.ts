/**
 * Questions to the API for pages, on TanStack Query: answers are shared and kept while a
 * page is away, asked for again while the tab is shown, and tried again after failures
 * with growing pauses. The fleet itself is not asked for in this way: see `useFleet`.
 */

import {
  QueryCache,
  QueryClient,
  keepPreviousData,
  useQuery,
  useQueryClient,
} from '@tanstack/vue-query'
import { computed, ref, toValue } from 'vue'
import type { MaybeRefOrGetter } from 'vue'
import { ApiError } from './api/requests'
import type { Api } from './api/client'
import { t } from './i18n'
import { API, injected } from './injection'

const LONGEST_PAUSE_MS = 60_000

/** A client for one session; `onUnauthorized` is called when the token is no longer good. */
export function makeQueryClient(onUnauthorized: () => void): QueryClient {
  return new QueryClient({
    queryCache: new QueryCache({
      onError: (error) => {
        if (error instanceof ApiError && error.status === 401) onUnauthorized()
      },
    }),
    defaultOptions: {
      queries: {
        // The page's own banner tells whether the API can be reached.
        networkMode: 'always',
        staleTime: 5_000,
        retry: (failures, error) => failures < 2 && mayHeal(error),
        retryDelay: (failures, error) => pauseAfter(failures, error),
      },
    },
  })
}

function mayHeal(error: unknown): boolean {
  return error instanceof ApiError && (error.status === null || error.status >= 500)
}

/** The pause before the next try, in milliseconds: 1, 2, 4 … s, or what the API asks for. */
function pauseAfter(failures: number, error: unknown): number {
  const asked = error instanceof ApiError ? (error.retryAfterSeconds ?? 0) * 1000 : 0
  return Math.min(Math.max(1000 * 2 ** failures, asked), LONGEST_PAUSE_MS)
}

/** What of a question may change. */
export interface QueryOptions {
  /** How often to ask again while the tab is shown, in milliseconds; never if left out. */
  everyMs?: MaybeRefOrGetter<number | undefined>
  /** Whether to ask at all. */
  enabled?: MaybeRefOrGetter<boolean>
}

/**
 * Asks, and gives the answer as it is now. The key names the question, with everything
 * that it depends on: another key is another question, during which the last answer stays.
 */
export function useApiQuery<T>(
  key: MaybeRefOrGetter<readonly unknown[]>,
  ask: (api: Api) => Promise<T>,
  { everyMs, enabled = true }: QueryOptions = {},
) {
  const api = injected(API)
  const query = useQuery({
    queryKey: computed(() => toValue(key)),
    queryFn: () => ask(api),
    refetchInterval: () => toValue(everyMs) ?? false,
    enabled: computed(() => toValue(enabled)),
    placeholderData: keepPreviousData,
  })

  return {
    /** The latest answer; undefined before the first. */
    data: query.data,
    /** Why there is no newer answer, as a sentence; null after a success. */
    failure: computed(() => (query.error.value === null ? null : messageOf(query.error.value))),
    /** The time of the latest answer, in milliseconds; null before the first. */
    updatedAt: computed(() => query.dataUpdatedAt.value || null),
    isLoading: query.isLoading,
    refetch: () => void query.refetch(),
  }
}

/** Asks again what has been asked with keys that begin with one of these words. */
export function useInvalidate() {
  const queries = useQueryClient()
  return (...words: readonly string[]) => {
    for (const word of words) void queries.invalidateQueries({ queryKey: [word] })
  }
}

/**
 * Something that the user asks for once, for example to save a form. `run` gives the
 * answer, or null after a failure, which `failure` tells.
 */
export function useAction<A extends unknown[], T>(act: (api: Api, ...values: A) => Promise<T>) {
  const api = injected(API)
  const busy = ref(false)
  const error = ref<ApiError | null>(null)

  async function run(...values: A): Promise<T | null> {
    if (busy.value) return null
    busy.value = true
    error.value = null
    try {
      return await act(api, ...values)
    } catch (caught) {
      error.value = asApiError(caught)
      return null
    } finally {
      busy.value = false
    }
  }

  /** What is wrong with a field of the request; null if nothing is. */
  function errorOf(field: string): string | null {
    return error.value?.fieldErrors.find((fault) => fault.field === field)?.message ?? null
  }

  const failure = computed(() => error.value?.message ?? null)
  return { run, busy, failure, error, errorOf }
}

function messageOf(error: unknown): string {
  return asApiError(error).message
}

/** The error, or what stands for a bug of the page, which goes to the console. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error

  console.error(error)
  return new ApiError(t('errors.bug'), null)
}
