/** A selector as a tree. */

import type { Field } from './fields'
import type { Literal } from './literals'
import type { Operator } from './operators'

/**
 * Which hosts are meant. An `and` has at least two parts and none that is an `and`; so has
 * an `or`.
 */
export type Expression =
  | { kind: 'all' }
  | { kind: 'term'; field: Field; test: Test }
  | { kind: 'not'; inner: Expression }
  | { kind: Joint; parts: Expression[] }

/** How conditions are joined. */
export type Joint = 'and' | 'or'

/** What a field is asked for. */
export type Test =
  // A switch is on, or any other field is there.
  | { kind: 'alone' }
  | { kind: 'compare'; operator: Operator; literal: Literal }
  | { kind: 'in' | 'not in'; literals: Literal[] }

/** All of these, or any of these; the only one itself. */
export function join(kind: Joint, parts: Expression[]): Expression {
  const flat = parts.flatMap((part) => (part.kind === kind ? part.parts : [part]))
  const [first] = flat
  return first !== undefined && flat.length === 1 ? first : { kind, parts: flat }
}
