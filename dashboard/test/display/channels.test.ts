import { describe, expect, test } from 'vitest'
import type { Channel } from '../../src/api/alerts'
import {
  CHANNEL_KINDS,
  fieldsOf,
  isSet,
  settingsOf,
  targetOf,
  textsOf,
} from '../../src/display/channels'

test('each kind has fields, one of which is needed', () => {
  expect(CHANNEL_KINDS).toEqual(['telegram', 'email', 'ntfy', 'alertmanager', 'webhook'])
  for (const kind of CHANNEL_KINDS) {
    expect(fieldsOf(kind, 'slack').some(({ required }) => required === true)).toBe(true)
  }
})

describe('the settings that a form says', () => {
  test.each<[string, Record<string, string>, object]>([
    [
      'telegram',
      { token: ' 1:a ', chat_id: '-100', topic_id: '7', url: '' },
      { token: '1:a', chat_id: '-100', topic_id: 7 },
    ],
    ['email', { to: 'a@example.com\nb@example.com, ' }, { to: ['a@example.com', 'b@example.com'] }],
    // The first format is the usual one, and fields of another format stay away.
    ['webhook', { url: 'https://x', room: '!a:b' }, { format: 'fleetbeat', url: 'https://x' }],
    [
      'webhook',
      { format: 'matrix', url: 'https://x', room: '!a:b', token: 't' },
      { format: 'matrix', url: 'https://x', room: '!a:b', token: 't' },
    ],
  ])('%s', (kind, texts, expected) => {
    expect(settingsOf(kind, texts)).toEqual(expected)
  })

  test('do not hold a secret that stays', () => {
    const settings = { format: 'slack', url: { set: true, host: 'hooks.example.com' } }
    expect(textsOf(settings)).toEqual({ format: 'slack' })
    expect([isSet(settings, 'url'), isSet(settings, 'format')]).toEqual([true, false])
    expect(settingsOf('webhook', textsOf(settings))).toEqual({ format: 'slack' })
  })
})

test('where messages go is told without secrets', () => {
  const channel = (settings: Record<string, unknown>) => ({ settings }) as Channel
  expect(targetOf(channel({ to: ['a@x', 'b@x'] }))).toBe('a@x, b@x')
  expect(targetOf(channel({ format: 'slack', url: { set: true, host: 'hooks.x' } }))).toBe(
    'slack · hooks.x',
  )
  expect(targetOf(channel({ token: { set: true } }))).toBe('')
})
