/** The tokens that are still to be read. */

import { SelectorError } from './errors'
import type { Token } from './lexer'

/** The tokens that are still to be read; at the end, the end again and again. */
export class TokenStream {
  private at = 0

  constructor(private readonly tokens: readonly Token[]) {}

  get next(): Token {
    return this.look(0)
  }

  /** The token behind the next one. */
  get second(): Token {
    return this.look(1)
  }

  /** Takes the next token. */
  take(): Token {
    const token = this.next
    this.at += 1
    return token
  }

  private look(ahead: number): Token {
    const token = this.tokens[this.at + ahead] ?? this.tokens.at(-1)
    if (token === undefined) throw new Error('there is always an end')
    return token
  }
}

/** A fault that begins with the token. */
export function fault(token: Token, message: string): SelectorError {
  return new SelectorError(token.place, message)
}
