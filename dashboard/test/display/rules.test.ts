import { describe, expect, test } from 'vitest'
import goldenRule from '../../../protocol/golden/rule.json'
import goldenManyDown from '../../../protocol/golden/rule-many-down.json'
import type { Rule } from '../../src/api/alerts'
import { conditionText, draftOf, formOf } from '../../src/display/rules'

function aRule(changes: object): Rule {
  return { id: 'rul-1', version: 1, warnings: [], ...changes } as unknown as Rule
}

describe('a rule in a form', () => {
  test.each([
    ['a metric', goldenRule],
    ['many hosts', goldenManyDown],
  ])('is the same when nothing is changed: %s', (_, golden) => {
    const form = formOf(draftOf(aRule(golden)))
    expect(form).toMatchObject(golden)
  })

  test('has no members of another condition', () => {
    const draft = { ...draftOf(aRule(goldenRule)), when: 'down' as const }
    expect(Object.keys(formOf(draft))).not.toEqual(
      expect.arrayContaining(['metric', 'labels', 'above', 'clear']),
    )
  })

  test('takes no lengths of time where the condition is told once', () => {
    const form = formOf({ ...draftOf(null), name: 'boot', when: 'reboot' })
    expect('for' in form || 'clear_for' in form).toBe(false)
  })

  test('leaves out what is empty', () => {
    const draft = { ...draftOf(null), name: ' x ', when: 'load' as const, limit: '90', clear: '' }
    expect(formOf(draft)).toMatchObject({
      name: 'x',
      load: 'cpu',
      above: 90,
      clear: null,
      repeat: null,
      escalate: null,
      where: 'all',
      channels: ['all'],
    })
  })
})

test.each([
  [{ when: 'down' }, 'The host is down'],
  [{ when: 'load', load: 'ram', above: 90 }, 'RAM > 90 %'],
  [{ when: 'metric', metric: 'load1', below: 1.5 }, 'load1 < 1.5'],
  [{ when: 'late', after: '5m' }, 'silent for 5m'],
  [{ when: 'service', service: 'wg*' }, 'service wg* not active'],
  [{ when: 'many_down', hosts: 5, percent: 30 }, '5 hosts and 30 % down'],
])('in a few words: %o', (changes, expected) => {
  expect(conditionText(aRule(changes))).toBe(expected)
})
