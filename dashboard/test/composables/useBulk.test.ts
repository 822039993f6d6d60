import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { effectScope } from 'vue'
import type { EffectScope } from 'vue'
import { ApiError } from '../../src/api/client'
import { UNDO_SECONDS, ordersOf, useBulk } from '../../src/composables/useBulk'
import { useToasts } from '../../src/composables/useToasts'
import { parseSelector } from '../../src/selector/selector'
import { UNREACHABLE, anApi } from '../support'

describe('orders for hosts', () => {
  test('name as many hosts as a selector may be long', () => {
    const ids = Array.from({ length: 500 }, (_, index) => `srv-${String(index).padStart(8, '0')}`)
    const orders = ordersOf(ids)
    expect(orders.reduce((sum, { expect: count }) => sum + count, 0)).toBe(500)
    expect(orders.length).toBeLessThan(10)
    for (const { select } of orders) expect(() => parseSelector(select)).not.toThrow()
    expect(orders.map(({ select }) => select).join()).toContain('srv-00000499')
  })

  test('are none for none', () => {
    expect(ordersOf([])).toEqual([])
  })
})

describe('a change of many hosts', () => {
  let scope: EffectScope
  const refresh = vi.fn(async () => undefined)
  const set = { gaming: true }
  const done = { bulk_id: 'b', changed: 2, failed: 0, stopped_at: null }

  beforeEach(() => {
    vi.useFakeTimers()
    scope = effectScope()
    refresh.mockClear()
  })
  afterEach(() => {
    scope.stop()
    vi.useRealTimers()
  })

  function begin(api: ReturnType<typeof anApi>, orders = [{ select: 'paid', expect: 2 }]) {
    const made = scope.run(() => {
      const toasts = useToasts()
      const errorToShow = (error: unknown) => error as ApiError
      return { toasts, bulk: useBulk(api, { toasts, errorToShow, refresh }) }
    })
    if (made === undefined) throw new Error('the scope has ended')
    made.bulk.schedule(orders, set)
    return () => made.toasts.toasts.value[0]
  }

  const pass = (seconds: number) => vi.advanceTimersByTimeAsync(seconds * 1000)

  test('is sent when the time to take it back is over', async () => {
    const api = anApi()
    api.setMany.mockResolvedValueOnce(done)
    const toast = begin(api)
    expect(toast()?.message).toBe('2 hosts are changed in 10 s.')
    await pass(UNDO_SECONDS - 1)
    expect(toast()?.message).toBe('2 hosts are changed in 1 s.')
    expect(api.setMany).not.toHaveBeenCalled()
    await pass(1)
    expect(api.setMany.mock.calls).toEqual([['paid', set, 2]])
    expect(toast()).toMatchObject({ message: '2 hosts are changed.', tone: 'good' })
    expect(refresh).toHaveBeenCalledTimes(1)
  })

  test('can be taken back', async () => {
    const api = anApi()
    const toast = begin(api)
    await pass(UNDO_SECONDS - 1)
    toast()?.action?.act()
    expect(toast()?.message).toBe('Nothing was changed.')
    await pass(60)
    expect(api.setMany).not.toHaveBeenCalled()
  })

  test('holds a page that is left before it was sent, and not after', async () => {
    const api = anApi()
    api.setMany.mockResolvedValueOnce(done)
    begin(api)
    const leave = () => {
      const event = new Event('beforeunload', { cancelable: true })
      window.dispatchEvent(event)
      return event.defaultPrevented
    }
    expect(leave()).toBe(true)
    await pass(UNDO_SECONDS)
    expect(leave()).toBe(false)
  })

  test('is not sent when the session ends before', async () => {
    const api = anApi()
    begin(api)
    scope.stop()
    await pass(60)
    expect(api.setMany).not.toHaveBeenCalled()
  })

  test.each([
    [
      'that other hosts are meant now',
      new ApiError('Others.', 409, null, false, {
        status: 409,
        title: 'Conflict',
        detail: 'Others.',
        request_id: '1',
        matched: { hosts: 5, first: [] },
      }),
      '2 changed, 0 failed. Now 5 hosts are meant, others than were counted: nothing more was changed.',
    ],
    [
      'that the API is away',
      UNREACHABLE,
      '2 changed, 0 failed. The change of many hosts ended early: Fleetbeat cannot be reached.',
    ],
  ])('tells how far it came, and %s', async (_, failure, message) => {
    const api = anApi()
    api.setMany.mockResolvedValueOnce(done).mockRejectedValueOnce(failure)
    const toast = begin(api, [
      { select: 'a', expect: 2 },
      { select: 'b', expect: 3 },
      { select: 'c', expect: 4 },
    ])
    await pass(UNDO_SECONDS)
    expect(api.setMany).toHaveBeenCalledTimes(2)
    expect(toast()).toMatchObject({ message, tone: 'bad' })
  })

  test('reports hosts that could not be changed, and where the storage went away', async () => {
    const api = anApi()
    api.setMany.mockResolvedValueOnce({ ...done, changed: 1, failed: 1 })
    const toast = begin(api)
    await pass(UNDO_SECONDS)
    expect(toast()).toMatchObject({ message: '1 changed, 1 failed.', tone: 'bad' })
    api.setMany.mockResolvedValueOnce({ ...done, stopped_at: '1.2.3.4' })
    const other = begin(api)
    await pass(UNDO_SECONDS)
    expect(other()?.message).toContain('The storage went away at 1.2.3.4')
  })
})
