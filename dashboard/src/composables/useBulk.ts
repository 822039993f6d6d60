/**
 * Changes of many hosts. A change waits for some seconds, in which it can be taken back,
 * because nothing takes it back afterwards. Then it is sent in one order or several, and
 * a message tells how far it has come and what has become of it.
 */

import { onScopeDispose } from 'vue'
import type { Api, ApiError } from '../api/client'
import type { BulkSet } from '../api/wire'
import { t } from '../i18n'
import { showText } from '../selector/text'
import type { ToastOptions, Toasts } from './useToasts'

/** How long a change can be taken back, in seconds. */
export const UNDO_SECONDS = 10

/** The hosts of one request: those of the selector, as many as were counted. */
export interface Order {
  select: string
  expect: number
}

/** The most bytes of a selector that the API takes are 1,024. */
const MOST_BYTES = 1000

/** Orders for these hosts, by `server_id`: a selector names as many as it may be long. */
export function ordersOf(serverIds: readonly string[]): Order[] {
  const groups: string[][] = []
  let bytes = Infinity
  for (const id of serverIds.map(showText)) {
    if (bytes + id.length + 2 > MOST_BYTES) {
      groups.push([])
      bytes = 'server_id in ()'.length
    }
    groups.at(-1)?.push(id)
    bytes += id.length + 2
  }
  return groups.map((ids) => ({ select: `server_id in (${ids.join(', ')})`, expect: ids.length }))
}

/** What a change of many hosts needs of the page. */
interface Surroundings {
  toasts: Toasts
  /** See `useApiErrors`. */
  errorToShow: (error: unknown) => ApiError | null
  /** Brings the fleet up to date. */
  refresh: () => Promise<void>
}

/** Sending changes of many hosts. */
export type Bulk = ReturnType<typeof useBulk>

export function useBulk(api: Api, { toasts, errorToShow, refresh }: Surroundings) {
  const timers = new Set<ReturnType<typeof setInterval>>()

  function onBeforeUnload(event: BeforeUnloadEvent) {
    if (timers.size > 0) event.preventDefault()
  }
  window.addEventListener('beforeunload', onBeforeUnload)
  onScopeDispose(() => {
    window.removeEventListener('beforeunload', onBeforeUnload)
    for (const timer of timers) clearInterval(timer)
  })

  /** Sends the orders after the time in which the user can take them back. */
  function schedule(orders: readonly Order[], set: BulkSet) {
    const count = countOrders(orders)
    let seconds = UNDO_SECONDS
    const pending = () => t('bulk.pending', { count, seconds })
    const options: ToastOptions = { stays: true, action: { label: t('common.undo'), act: undo } }
    const toast = toasts.show(pending(), options)

    const timer = setInterval(() => {
      seconds -= 1
      if (seconds > 0) {
        toasts.change(toast, pending(), options)
        return
      }
      stop()
      void send(toast, orders, set)
    }, 1_000)
    timers.add(timer)

    function stop() {
      clearInterval(timer)
      timers.delete(timer)
    }
    function undo() {
      stop()
      toasts.change(toast, t('bulk.undone'))
    }
  }

  async function send(toast: number, orders: readonly Order[], set: BulkSet) {
    const count = countOrders(orders)
    let done = 0
    let changed = 0
    let failed = 0

    try {
      for (const { select, expect } of orders) {
        const progress = done / Math.max(count, 1)
        toasts.change(toast, t('bulk.progress', { done, count }), { stays: true, progress })
        const answer = await api.setMany(select, set, expect)
        changed += answer.changed
        failed += answer.failed
        done += expect
        if (answer.stopped_at !== null) {
          const stopped = t('bulk.reportStopped', { host: answer.stopped_at })
          toasts.change(toast, `${t('bulk.report', { changed, failed })} ${stopped}`, {
            tone: 'bad',
          })
          return
        }
      }
      if (failed > 0) toasts.change(toast, t('bulk.report', { changed, failed }), { tone: 'bad' })
      else toasts.change(toast, t('bulk.reportDone', { count: changed }), { tone: 'good' })
    } catch (error) {
      const shown = errorToShow(error)
      if (shown !== null) toasts.change(toast, explain(shown, changed, failed), { tone: 'bad' })
      else toasts.dismiss(toast)
    } finally {
      void refresh()
    }
  }

  return { schedule }
}

/** How many hosts the orders are about. */
export function countOrders(orders: readonly Order[]): number {
  return orders.reduce((sum, { expect }) => sum + expect, 0)
}

function explain(error: ApiError, changed: number, failed: number): string {
  const reason =
    error.matched === null
      ? t('bulk.reportFailed', { reason: error.message })
      : t('bulk.reportMoved', { count: error.matched.hosts })
  return changed + failed === 0 ? reason : `${t('bulk.report', { changed, failed })} ${reason}`
}
