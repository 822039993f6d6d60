/** What may stand next in a selector, for the input that completes it. */

import type { Server } from '../api/wire'
import { SelectorError } from './errors'
import { PLAIN_FIELDS, findField, findNamed, kindOf, showField } from './fields'
import type { Field } from './fields'
import { isWord, tokensOf } from './lexer'
import type { Token } from './lexer'
import { faultOfOperator } from './literals'
import { OPERATORS } from './operators'
import { isPlain, showText } from './text'

/** What hosts have, by which values are proposed. */
export interface Facts {
  /** Fields that hold a name, such as `service.wg`. */
  named: readonly Field[]
  /** The values of a field that hosts have, by the field as it is written. */
  values: ReadonlyMap<string, readonly string[]>
}

/** A text that may stand next, and what of the text it takes the place of. */
export interface Completion {
  text: string
  from: number
  to: number
}

/** More are not proposed. */
const MOST = 12

/** What a position in a selector asks for. */
type Wanted =
  | { kind: 'field' | 'joint' | 'nothing' }
  | { kind: 'operator' | 'open' | 'value' | 'listed'; field: Field }
  | { kind: 'separator'; field: Field }

/** What may stand at the caret, which is counted as in `selectionStart`. */
export function completionsAt(text: string, caret: number, facts: Facts): Completion[] {
  const before = text.slice(0, caret)
  const begun = begunWord(before)
  const wanted = wantedAfter(before.slice(0, before.length - begun.length))

  const from = caret - begun.length
  return candidates(wanted, begun, facts)
    .filter((candidate) => candidate !== begun)
    .slice(0, MOST)
    .map((candidate) => ({ text: candidate, from, to: caret }))
}

/** The word in which the text ends. */
function begunWord(text: string): string {
  const characters = Array.from(text)
  let start = characters.length
  while (start > 0 && isPlain(characters[start - 1] ?? '')) start -= 1
  return characters.slice(start).join('')
}

function candidates(wanted: Wanted, begun: string, facts: Facts): string[] {
  const starts = (name: string) => name.toLowerCase().startsWith(begun.toLowerCase())
  switch (wanted.kind) {
    case 'field': {
      const named = facts.named.map(showField)
      return [...PLAIN_FIELDS, ...named, 'not', 'all'].filter(starts)
    }
    case 'joint':
      return ['and', 'or'].filter(starts)
    case 'operator': {
      const { field } = wanted
      const signs =
        begun === '' ? OPERATORS.filter((sign) => faultOfOperator(field, sign) === null) : []
      const lists = faultOfOperator(field, 'in') === null ? ['in', 'not in'] : []
      const joints = ['and', 'or']
      // A switch is mostly asked for alone.
      const all =
        kindOf(field) === 'switch' ? [...joints, ...signs] : [...signs, ...lists, ...joints]
      return all.filter(starts)
    }
    case 'open':
      return begun === '' ? ['('] : []
    case 'separator':
      return begun === '' ? [',', ')'] : []
    case 'value':
    case 'listed':
      return valuesOf(wanted.field, facts)
        .filter((value) => contains(value, begun))
        .map(showText)
    case 'nothing':
      return []
  }
}

function contains(value: string, begun: string): boolean {
  return value.toLowerCase().includes(begun.toLowerCase())
}

function valuesOf(field: Field, facts: Facts): readonly string[] {
  switch (kindOf(field)) {
    case 'switch':
      return ['true', 'false']
    case 'status':
      return ['active', 'down']
    case 'age':
      return ['90s', '5m', '1h', '1d']
    default:
      return facts.values.get(showField(field)) ?? []
  }
}

/** What is to come after the text, of which every word is complete. */
function wantedAfter(text: string): Wanted {
  let tokens: Token[]
  try {
    tokens = tokensOf(text)
  } catch (error) {
    if (error instanceof SelectorError) return { kind: 'nothing' }
    throw error
  }

  let wanted: Wanted = { kind: 'field' }
  for (const token of tokens) {
    if (token.kind === 'end') break
    wanted = next(wanted, token)
  }
  return wanted
}

const NOTHING: Wanted = { kind: 'nothing' }

function next(wanted: Wanted, token: Token): Wanted {
  switch (wanted.kind) {
    case 'field':
      return afterField(token)
    case 'joint':
      return afterCondition(token)
    case 'operator': {
      const { field } = wanted
      if (token.kind === 'operator') return { kind: 'value', field }
      if (isWord(token, 'in')) return { kind: 'open', field }
      return isWord(token, 'not') ? wanted : afterCondition(token)
    }
    case 'open':
      return token.kind === '(' ? { kind: 'listed', field: wanted.field } : NOTHING
    case 'value':
      return isValue(token) ? { kind: 'joint' } : NOTHING
    case 'listed':
      return isValue(token) ? { kind: 'separator', field: wanted.field } : NOTHING
    case 'separator':
      if (token.kind === ',') return { kind: 'listed', field: wanted.field }
      return token.kind === ')' ? { kind: 'joint' } : NOTHING
    case 'nothing':
      return NOTHING
  }
}

function afterField(token: Token): Wanted {
  if (token.kind === '(' || isWord(token, 'not')) return { kind: 'field' }
  if (isWord(token, 'all')) return { kind: 'joint' }
  if (token.kind !== 'word') return NOTHING

  const plain = findField(token.text)
  if (plain !== null) return { kind: 'operator', field: plain }
  const named = findNamed(token.text)
  // A name in quotes is not completed.
  if (named === null || named.rest === '') return NOTHING
  return { kind: 'operator', field: { key: named.key, name: named.rest } }
}

function afterCondition(token: Token): Wanted {
  if (isWord(token, 'and') || isWord(token, 'or')) return { kind: 'field' }
  return token.kind === ')' ? { kind: 'joint' } : NOTHING
}

function isValue(token: Token): boolean {
  return token.kind === 'word' || token.kind === 'quoted'
}

/** What the hosts have. */
export function factsOf(servers: readonly Server[]): Facts {
  const named = new Map<string, Field>()
  const values = new Map<string, Set<string>>()

  function addName(key: 'service' | 'tag' | 'metric', name: string): Field {
    const field: Field = { key, name }
    named.set(showField(field), field)
    return field
  }
  function addValue(field: string, value: string | null) {
    if (value === null || value === '') return
    const known = values.get(field) ?? new Set()
    values.set(field, known.add(value))
  }

  for (const server of servers) {
    addValue('country', server.countryCode)
    addValue('city', server.city)
    addValue('region', server.region)
    addValue('agent_version', server.agent_version)
    addValue('hostname', server.hostname)
    addValue('ip', server.ip)
    for (const { name } of server.services) addName('service', name)
    for (const name of Object.keys(server.metrics)) addName('metric', name)
    for (const [key, value] of Object.entries({ ...server.agent_tags, ...server.tags })) {
      addValue(showField(addName('tag', key)), value)
    }
  }

  return {
    named: [...named.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, field]) => field),
    values: new Map([...values].map(([field, known]) => [field, [...known].sort()])),
  }
}
