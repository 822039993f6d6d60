import { describe, expect, test } from 'vitest'
import { completionsAt, factsOf } from '../../src/selector/complete'
import { aServer } from '../support'

const facts = factsOf([
  aServer({
    countryCode: 'DE',
    city: 'Frankfurt am Main',
    hostname: 'vpn-de-01',
    services: [{ name: 'wg', active: true }],
    tags: { rack: 'a1' },
    agent_tags: { rack: 'b2', edge: '' },
    metrics: { vpn_clients: 4 },
  }),
  aServer({ countryCode: 'JP', city: 'Tokyo', hostname: 'vpn-jp-01', services: [] }),
])

/** The completions at the bar. */
function at(marked: string) {
  const caret = marked.indexOf('|')
  const text = marked.replace('|', '')
  return completionsAt(text, caret, facts).map((completion) => completion.text)
}

describe('completions', () => {
  test.each([
    ['cou|', ['country']],
    ['not ga|', ['gaming']],
    ['(paid or str|', ['streaming']],
    ['service.|', ['service.ov', 'service.wg'].slice(1)],
    ['tag.r|', ['tag.rack']],
    ['country = |', ['DE', 'JP']],
    ['country = j|', ['JP']],
    ['country in (DE, |', ['DE', 'JP']],
    ['country in |', ['(']],
    ['country in (DE |', [',', ')']],
    ['country = DE |', ['and', 'or']],
    ['country = DE a|', ['and']],
    ['country i|', ['in']],
    ['gaming |', ['and', 'or', '!=', '=']],
    ['status = |', ['active', 'down']],
    ['tag.rack = |', ['a1']],
    ['last_heartbeat > |', ['90s', '5m', '1h', '1d']],
    ['atlantis |', []],
    ['city = "Fra|', []],
    ['country = DE && |', []],
  ])('at %s are %j', (marked, expected) => {
    expect(at(marked)).toEqual(expected)
  })

  test('a value that needs quotes has some', () => {
    expect(at('city = fra|')).toEqual(['"Frankfurt am Main"'])
  })

  test('a number is compared as one', () => {
    expect(at('load |')).toEqual(['!=', '<=', '>=', '=', '<', '>', 'in', 'not in', 'and', 'or'])
  })

  test('stand in the place of the word that was begun, within the text, too', () => {
    const [first] = completionsAt('cou = DE', 3, facts)
    expect(first).toEqual({ text: 'country', from: 0, to: 3 })
  })
})
