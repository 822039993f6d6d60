import { describe, expect, test } from 'vitest'
import golden from '../../../selector/golden/hosts.json'
import invalid from '../../../selector/golden/invalid.json'
import valid from '../../../selector/golden/valid.json'
import wire from '../../../selector/golden/wire.json'
import { SERVER, matches } from '../../src/api/wire'
import { SelectorError } from '../../src/selector/errors'
import type { Host, Value } from '../../src/selector/evaluate'
import { hostOf } from '../../src/selector/host'
import { parseSelector, selects } from '../../src/selector/selector'

const NOW_MS = Date.parse(golden.now)

/** A host of `hosts.json`: the values of its fields, by their names. */
function goldenHost(values: Record<string, unknown>): Host {
  return ({ key, name }) => {
    const field = name === null ? key : `${key}.${name}`
    return Object.hasOwn(values, field) ? valueOf(key, values[field]) : { kind: 'missing' }
  }
}

function valueOf(key: string, value: unknown): Value {
  if (typeof value === 'boolean') return { kind: 'switch', isOn: value }
  if (typeof value === 'number') return { kind: 'number', number: value }
  const texts = (Array.isArray(value) ? value : [value]).map(String)
  const text = texts.join()
  if (key === 'ip') return { kind: 'address', address: text }
  if (key === 'last_heartbeat') return { kind: 'time', ms: Date.parse(text) }
  return { kind: 'text', texts }
}

describe('what the language takes', () => {
  test.each(valid)('$selector', ({ selector: text, canonical, selects: wanted }) => {
    const selector = parseSelector(text)
    expect(selector.canonical).toBe(canonical)
    expect(parseSelector(canonical)).toEqual(selector)

    const hosts = Object.entries(golden.hosts)
    const selected = hosts.filter(([, values]) => selects(selector, goldenHost(values), NOW_MS))
    expect(selected.map(([name]) => name).sort()).toEqual([...wanted].sort())
  })
})

describe('what the language refuses', () => {
  test.each(invalid)('$selector', ({ selector, place, message }) => {
    let thrown: unknown
    try {
      parseSelector(selector)
    } catch (error) {
      thrown = error
    }
    expect(thrown).toBeInstanceOf(SelectorError)
    expect(thrown).toMatchObject({ place, message })
  })
})

describe('a server of the API', () => {
  test.each(wire.cases)('is selected by $selector: $selected', ({ selector: text, selected }) => {
    const { server } = wire
    if (!matches(SERVER, server)) throw new Error('wire.json has no server')
    const selector = parseSelector(text)
    expect(selects(selector, hostOf(server), Date.parse(wire.now))).toBe(selected)
  })
})
