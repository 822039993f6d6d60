/** Values in a selector, and how each kind of field may be compared. */

import { kindOf, showField } from './fields'
import type { Field } from './fields'
import { parseAddress, parseAge, parseNumber, parseVersion, showAge, showNumber } from './numbers'
import { isEquality, isOrder, isPattern } from './operators'
import type { Operator } from './operators'
import { isSameText, quoted, showPattern, showText } from './text'

/** A value in a selector. */
export type Literal =
  | { kind: 'text' | 'pattern' | 'address'; text: string }
  | { kind: 'number'; number: number }
  | { kind: 'switch'; isOn: boolean }
  | { kind: 'age'; ms: number }
  | { kind: 'version'; numbers: number[] }

/** A value, or what is wrong with the text that should be one. */
export type Parsed = { literal: Literal } | { fault: string }

/** The value that the text spells, for a comparison of the field by the operator. */
export function parseLiteral(field: Field, operator: Operator, text: string): Parsed {
  const kind = kindOf(field)
  if (text === '' && kind !== 'tag' && !isOrder(operator)) {
    return { fault: `an empty text is never found: write not ${showField(field)}` }
  }
  if (isPattern(operator)) return { literal: { kind: 'pattern', text } }

  const [literal, wanted] = parseAs(field, operator, text)
  return literal === null ? { fault: `${quoted(text)} is not ${wanted}` } : { literal }
}

/** The value, or null; and what values there are. */
function parseAs(field: Field, operator: Operator, text: string): [Literal | null, string] {
  switch (kindOf(field)) {
    case 'version':
      return isOrder(operator) ? parseBound(text) : [{ kind: 'text', text }, '']
    case 'tag':
      return isOrder(operator) ? asNumber(text) : [{ kind: 'text', text }, '']
    case 'text':
      return [{ kind: 'text', text }, '']
    case 'number':
      return asNumber(text)
    case 'address': {
      const address = parseAddress(text)
      const literal: Literal | null = address === null ? null : { kind: 'address', text: address }
      return [literal, 'an address: for a pattern, use ~']
    }
    case 'status': {
      const status = ['active', 'down'].find((known) => isSameText(known, text))
      const literal: Literal | null = status === undefined ? null : { kind: 'text', text: status }
      return [literal, 'a status: use active or down']
    }
    case 'switch': {
      const isSwitch = text === 'true' || text === 'false'
      const literal: Literal | null = isSwitch ? { kind: 'switch', isOn: text === 'true' } : null
      return [literal, "a switch's value: use true or false"]
    }
    case 'age': {
      const ms = parseAge(text)
      const literal: Literal | null = ms === null ? null : { kind: 'age', ms }
      return [literal, 'an age, such as 90s, 5m, 12h or 30d']
    }
  }
}

function asNumber(text: string): [Literal | null, string] {
  const number = parseNumber(text)
  return [number === null ? null : { kind: 'number', number }, 'a number']
}

function parseBound(text: string): [Literal | null, string] {
  const numbers = parseVersion(text)
  const literal: Literal | null = numbers === null ? null : { kind: 'version', numbers }
  return [literal, 'a version, such as 1.2.0']
}

/** What is wrong with this comparison of the field; null if nothing is. */
export function faultOfOperator(field: Field, operator: Operator | 'in'): string | null {
  return mayBeCompared(field, operator) ? null : describe(field)
}

function mayBeCompared(field: Field, operator: Operator | 'in'): boolean {
  const isList = operator === 'in'
  switch (kindOf(field)) {
    case 'text':
    case 'address':
    case 'status':
      return isList || !isOrder(operator)
    case 'number':
      return isList || !isPattern(operator)
    case 'switch':
      return !isList && isEquality(operator)
    case 'age':
      return !isList && isOrder(operator)
    case 'version':
    case 'tag':
      return true
  }
}

/** How the field may be compared. */
function describe(field: Field): string {
  const name = showField(field)
  switch (kindOf(field)) {
    case 'switch':
      return `${name} is on or off: write ${name} or not ${name}`
    case 'age':
      return `${name} is compared by its age: use <, <=, > or >=`
    case 'number':
      return `${name} is a number: use =, !=, <, <=, >, >= or in`
    default:
      return `${name} is a text: use =, !=, ~, !~ or in`
  }
}

export function showLiteral(literal: Literal): string {
  switch (literal.kind) {
    case 'text':
      return showText(literal.text)
    case 'pattern':
      return showPattern(literal.text)
    case 'address':
      return literal.text
    case 'number':
      return showNumber(literal.number)
    case 'switch':
      return String(literal.isOn)
    case 'age':
      return showAge(literal.ms)
    case 'version':
      return literal.numbers.join('.')
  }
}
