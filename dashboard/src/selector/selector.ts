/**
 * Selectors: a small language that says which hosts are meant.
 *
 * The server has the same language in Rust (`selector/`), and says there what it is. The
 * files in `selector/golden/` hold the two together.
 */

import { SelectorError } from './errors'
import { holds } from './evaluate'
import type { Host } from './evaluate'
import { parseExpression } from './parser'
import { showExpression } from './show'
import type { Expression } from './tree'

/** The longest selector, as it is written and in its canonical form. */
const MAX_BYTES = 1024

/** Which hosts are meant. */
export interface Selector {
  expression: Expression
  /** The one form of all texts that differ in blanks, quotes and parentheses alone. */
  canonical: string
}

/** The selector that the text spells; throws a `SelectorError`. */
export function parseSelector(text: string): Selector {
  checkLength(text)
  const expression = parseExpression(text)

  // Canonical blanks may make a text longer. One that is stored has to be read again.
  const canonical = showExpression(expression)
  const bytes = bytesOf(canonical)
  if (bytes > MAX_BYTES) {
    const message = `has ${bytes} bytes in its canonical form; at most ${MAX_BYTES} are taken`
    throw new SelectorError(1, message)
  }
  return { expression, canonical }
}

/** Whether the host is meant at this time. */
export function selects(selector: Selector, host: Host, nowMs: number): boolean {
  return holds(selector.expression, host, nowMs)
}

function checkLength(text: string): void {
  const bytes = bytesOf(text)
  if (bytes <= MAX_BYTES) return

  let place = 0
  let taken = 0
  for (const character of text) {
    place += 1
    taken += bytesOf(character)
    if (taken > MAX_BYTES) break
  }
  throw new SelectorError(place, `has ${bytes} bytes; at most ${MAX_BYTES} are taken`)
}

const encoder = new TextEncoder()

function bytesOf(text: string): number {
  return encoder.encode(text).length
}
