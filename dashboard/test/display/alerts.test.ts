import { describe, expect, test } from 'vitest'
import {
  endText,
  groupAlerts,
  holdText,
  lastedMs,
  rulesToMute,
  selectorOf,
  subjectName,
  valueText,
} from '../../src/display/alerts'
import { parseSelector } from '../../src/selector/selector'
import { anAlert } from '../support'

describe('groups', () => {
  test('have what is told together, the worst first, and the newest first within', () => {
    const at = (minute: number) => `2026-11-01T10:0${minute}:00Z`
    const disk = { rule: 'rul-2', rule_name: 'Disk', severity: 'warning' as const }
    const groups = groupAlerts([
      anAlert({ id: 'alr-1', ...disk, group: [['country', 'DE']], opened_at: at(9) }),
      anAlert({ id: 'alr-2', opened_at: at(1) }),
      anAlert({ id: 'alr-3', ...disk, group: [['country', 'JP']], opened_at: at(3) }),
      anAlert({ id: 'alr-4', opened_at: at(2) }),
      anAlert({ id: 'alr-5', ...disk, group: [['country', 'DE']], opened_at: at(4) }),
    ])
    expect(
      groups.map(({ name, pairs, alerts }) => [name, pairs, alerts.map(({ id }) => id)]),
    ).toEqual([
      ['Host down', [], ['alr-4', 'alr-2']],
      ['Disk', [['country', 'DE']], ['alr-1', 'alr-5']],
      ['Disk', [['country', 'JP']], ['alr-3']],
    ])
  })

  test('are as bad as the worst of their alerts', () => {
    const [group] = groupAlerts([
      anAlert({ severity: 'info', opened_at: '2026-11-01T11:00:00Z' }),
      anAlert({ id: 'alr-2', severity: 'critical' }),
    ])
    expect(group?.severity).toBe('critical')
  })
})

describe('whom an alert is about', () => {
  test.each([
    [anAlert().subject, 'vpn-de-01'],
    ['server' as const, 'the server'],
    [{ group: [] }, 'the fleet'],
    [
      {
        group: [
          ['country', 'DE'],
          ['tag.env', ''],
        ],
      },
      'country DE, tag.env –',
    ],
    [undefined, 'unknown'],
  ])('is told', (subject, expected) => {
    expect(subjectName(subject)).toBe(expected)
  })

  test('cannot spoof the sight', () => {
    const subject = { host: { ...hostOf(), hostname: 'vpn\u202e10' } }
    expect(subjectName(subject)).toBe('vpn⟨U+202E⟩10')
  })

  test.each([
    [anAlert().subject, 'server_id = srv-1'],
    ['server' as const, 'all'],
    [
      {
        group: [
          ['country', 'DE'],
          ['tag.env', 'a*b'],
        ],
      },
      'country = DE and tag.env = "a*b"',
    ],
  ])('is a selector that the API takes', (subject, expected) => {
    const selector = selectorOf(anAlert({ subject }))
    expect(selector).toBe(expected)
    expect(parseSelector(selector).canonical).toBe(expected)
  })
})

function hostOf() {
  const { subject } = anAlert()
  if (typeof subject !== 'object' || !('host' in subject)) throw new Error('no host')
  return subject.host
}

test.each([
  [{ when: 'load', value: 91.23, limit: 90 }, '91.2 % (limit 90.0 %)'],
  [{ when: 'metric', object: 'disk_used_percent{mount="/"}', value: 95, limit: null }, '95.0 %'],
  [{ when: 'metric', object: 'load1', value: 16.123, limit: 16 }, '16.12 (limit 16)'],
  [{ when: 'late', value: 400, limit: 300 }, '6 min (limit 5 min)'],
  [{ when: 'many_down', value: 12, counted: { hosts: 12, of: 20 } }, '12 of 20 hosts'],
  [{ when: 'down', value: 250 }, '4 min'],
  [{ when: 'down', value: null }, ''],
])('the value of %o', (changes, expected) => {
  expect(valueText(anAlert(changes))).toBe(expected)
})

test('why nobody is told, and why an alert is over', () => {
  expect(holdText(anAlert({ held_by: null }))).toBeNull()
  expect(holdText(anAlert({ held_by: { mute: 'mut-1' } }))).toBe('muted')
  expect(holdText(anAlert({ held_by: 'maintenance' }))).toBe('maintenance')
  expect(endText(anAlert({ reason: null }))).toBeNull()
  expect(endText(anAlert({ reason: 'rule_deleted' }))).toBe('the rule was deleted')
})

test('how long it was so', () => {
  const times = { since: '2026-11-01T10:00:00Z', ended_at: '2026-11-01T10:05:00Z' }
  expect(lastedMs(anAlert(times), 0)).toBe(300_000)
  const now = Date.parse('2026-11-01T10:01:00Z')
  expect(lastedMs(anAlert({ ...times, ended_at: null }), now)).toBe(60_000)
})

test('a mute of what is built in names no rule', () => {
  expect(rulesToMute('rul-1')).toEqual(['rul-1'])
  expect(rulesToMute('server_deaf')).toEqual([])
})
