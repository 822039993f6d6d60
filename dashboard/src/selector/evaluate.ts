/** Whether a host is meant. */

import type { Field } from './fields'
import type { Literal } from './literals'
import { compareVersion, parseNumber } from './numbers'
import type { Operator } from './operators'
import { covers, isSameText } from './text'
import type { Expression, Test } from './tree'

/** What a host has in a field. */
export type Value =
  | { kind: 'missing' }
  // Several texts, of which any will do.
  | { kind: 'text'; texts: readonly string[] }
  | { kind: 'address'; address: string }
  | { kind: 'number'; number: number }
  | { kind: 'switch'; isOn: boolean }
  // A moment, in milliseconds since 1970.
  | { kind: 'time'; ms: number }

/** A host's value in a field: of the kind that belongs to the field, or missing. */
export type Host = (field: Field) => Value

/** Whether the host is meant at this time. */
export function holds(expression: Expression, host: Host, nowMs: number): boolean {
  switch (expression.kind) {
    case 'all':
      return true
    case 'term':
      return passes(host(expression.field), expression.test, nowMs)
    case 'not':
      return !holds(expression.inner, host, nowMs)
    case 'and':
      return expression.parts.every((part) => holds(part, host, nowMs))
    case 'or':
      return expression.parts.some((part) => holds(part, host, nowMs))
  }
}

/**
 * Whether the value is what is asked for. What is missing is equal to nothing, so it is
 * unequal to everything.
 */
function passes(value: Value, test: Test, nowMs: number): boolean {
  switch (test.kind) {
    case 'alone':
      return value.kind === 'switch' ? value.isOn : value.kind !== 'missing'
    case 'in':
      return test.literals.some((literal) => equals(value, literal))
    case 'not in':
      return !test.literals.some((literal) => equals(value, literal))
    case 'compare':
      return passesOperator(value, test.operator, test.literal, nowMs)
  }
}

function passesOperator(value: Value, operator: Operator, literal: Literal, nowMs: number) {
  // NaN is neither less nor more than anything.
  const order = compare(value, literal, nowMs) ?? NaN
  switch (operator) {
    case '=':
      return equals(value, literal)
    case '!=':
      return !equals(value, literal)
    case '~':
      return isLike(value, literal)
    case '!~':
      return !isLike(value, literal)
    case '<':
      return order < 0
    case '<=':
      return order <= 0
    case '>':
      return order > 0
    case '>=':
      return order >= 0
  }
}

function equals(value: Value, literal: Literal): boolean {
  if (value.kind === 'text' && literal.kind === 'text') {
    return value.texts.some((text) => isSameText(text, literal.text))
  }
  if (value.kind === 'number' && literal.kind === 'number') return value.number === literal.number
  if (value.kind === 'switch' && literal.kind === 'switch') return value.isOn === literal.isOn
  if (value.kind === 'address' && literal.kind === 'address') {
    return value.address === literal.text
  }
  return false
}

function isLike(value: Value, literal: Literal): boolean {
  if (literal.kind !== 'pattern') return false
  if (value.kind === 'text') return value.texts.some((text) => covers(literal.text, text))
  return value.kind === 'address' && covers(literal.text, value.address)
}

/** Less than 0 if the value is less than the literal; null if neither is more. */
function compare(value: Value, literal: Literal, nowMs: number): number | null {
  if (value.kind === 'number' && literal.kind === 'number') return value.number - literal.number
  if (value.kind === 'time' && literal.kind === 'age') {
    // What is in the future counts as now.
    return Math.max(nowMs - value.ms, 0) - literal.ms
  }
  const text = value.kind === 'text' ? value.texts[0] : undefined
  if (text === undefined) return null
  if (literal.kind === 'version') return compareVersion(text, literal.numbers)
  const number = parseNumber(text)
  return literal.kind === 'number' && number !== null ? number - literal.number : null
}
