import { expect, test } from 'vitest'
import { ago } from '../../src/display/time'

test.each([
  [-60_000, 'just now'],
  [0, 'just now'],
  [999, 'just now'],
  [1_000, '1 s ago'],
  [59_999, '59 s ago'],
  [60_000, '1 min ago'],
  [3_599_999, '59 min ago'],
  [3_600_000, '1 h ago'],
  [86_399_999, '23 h ago'],
  [30 * 86_400_000, '30 d ago'],
])('%i ms are "%s"', (ageMs, text) => {
  const now = Date.parse('2026-01-31T12:00:00Z')
  expect(ago(now - ageMs, now)).toBe(text)
})
