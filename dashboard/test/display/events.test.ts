import { describe, expect, test, vi } from 'vitest'
import openapi from '../../../server/src/api/openapi.json'
import type { Api } from '../../src/api/client'
import type { FleetEvent } from '../../src/api/events'
import {
  EVENT_GROUPS,
  EVENT_KINDS,
  actorOf,
  detailOf,
  groupLabel,
  hostOf,
  kindLabel,
} from '../../src/display/events'
import { followEvents } from '../../src/display/tail'

function anEvent(changes: Partial<FleetEvent> = {}): FleetEvent {
  return {
    id: '1',
    at: '2026-11-01T10:00:00Z',
    kind: 'host.down',
    ip: '1.2.3.4',
    server_id: 'srv-1',
    hostname: 'vpn-de-01',
    user: null,
    actor: null,
    data: {},
    ...changes,
  }
}

test('the kinds are those of the API, and each has a name', () => {
  expect([...EVENT_KINDS].sort()).toEqual(
    [...openapi.components.schemas.Event.properties.kind.enum].sort(),
  )
  for (const kind of EVENT_KINDS) expect(kindLabel(kind)).not.toContain('events.')
  for (const group of EVENT_GROUPS) expect(groupLabel(group)).not.toContain('events.')
  expect(kindLabel('host.painted')).toBe('host.painted')
})

describe('what an event tells', () => {
  test.each<[Record<string, unknown>, string]>([
    [{ flag: 'gaming', from: false, to: true }, 'gaming: false → true'],
    [{ tag: 'env', from: null, to: 'prod' }, 'env: – → prod'],
    [{ from: '1.2.3.4', to: '1.2.3.5' }, '1.2.3.4 → 1.2.3.5'],
    [{ down_s: 300 }, 'down 5 min'],
    [{ service: 'w\u202eg' }, 'w⟨U+202E⟩g'],
    [{ alert: 'alr-1', rule: 'rul-1', name: 'Disk', note: '' }, 'Disk'],
    [{ select: 'country = DE', hosts: 1200, bulk_id: 'b' }, 'country = DE · hosts 1,200'],
    [{ setting: 'billing', from: null, to: { day: 3 } }, 'billing: – → {"day":3}'],
  ])('%o', (data, expected) => {
    expect(detailOf(anEvent({ data }))).toBe(expected)
  })

  test('who did it, and which host it is about', () => {
    expect(actorOf(anEvent())).toBe('')
    expect(actorOf(anEvent({ actor: { user: 'ada' } }))).toBe('ada')
    expect(actorOf(anEvent({ actor: { program: 'sweep', address: '1.1.1.1' } }))).toBe(
      'sweep (1.1.1.1)',
    )
    expect(hostOf(anEvent({ hostname: '' }))).toBe('1.2.3.4')
    expect(hostOf(anEvent({ hostname: null, ip: null, server_id: null }))).toBe('')
  })
})

test('new events come before those that are there, the newest first', async () => {
  const events = vi.fn<Api['events']>()
  events.mockResolvedValueOnce({ events: [anEvent({ id: '7' })], cursor: '7', more: true })
  const first = await followEvents({ events }, { kind: 'host.*' }, null)
  events.mockResolvedValueOnce({
    events: [anEvent({ id: '8' }), anEvent({ id: '9' })],
    cursor: '9',
    more: false,
  })
  const second = await followEvents({ events }, { kind: 'host.*' }, first)
  expect(events).toHaveBeenLastCalledWith({ kind: 'host.*', after: '7', limit: 1000 })
  expect(second.events.map(({ id }) => id)).toEqual(['9', '8', '7'])
  expect([second.cursor, second.more]).toEqual(['9', true])

  events.mockResolvedValueOnce({ events: [], cursor: '9', more: false })
  const third = await followEvents({ events }, {}, second)
  expect(third.events).toBe(second.events)
})
