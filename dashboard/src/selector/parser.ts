/** From tokens to the tree: how conditions are put together. */

import { SelectorError } from './errors'
import { isWord, showToken, tokensOf } from './lexer'
import type { Token } from './lexer'
import { parseTerm } from './terms'
import { isKeyword, lowerAscii } from './text'
import { TokenStream, fault } from './tokens'
import { join } from './tree'
import type { Expression, Joint } from './tree'

/** The most conditions. */
const MAX_TERMS = 64
/** The most parentheses and `not` around a condition. */
const MAX_DEPTH = 16

/** The tree of the selector that the text spells; throws the first fault. */
export function parseExpression(text: string): Expression {
  const stream = new TokenStream(tokensOf(text))
  if (stream.next.kind === 'end') {
    throw new SelectorError(1, 'is empty: write all to select every host')
  }

  const expression = new Parser(stream).joined('or')
  const rest = stream.next
  if (rest.kind === ')') throw fault(rest, 'this ) closes nothing')
  if (rest.kind !== 'end') throw jointMissing(rest)
  return expression
}

/** The tokens, and what has been counted. */
class Parser {
  private terms = 0
  private depth = 0

  constructor(private readonly stream: TokenStream) {}

  /** Parts with this joint between them. `and` binds more tightly than `or`. */
  joined(joint: Joint): Expression {
    const part = () => (joint === 'or' ? this.joined('and') : this.not())
    const parts = [part()]
    while (isWord(this.stream.next, joint)) {
      this.stream.take()
      parts.push(part())
    }
    return join(joint, parts)
  }

  private not(): Expression {
    const token = this.stream.next
    if (isWord(token, 'not')) {
      this.stream.take()
      return { kind: 'not', inner: this.deeper(token, () => this.not()) }
    }
    if (token.kind === '(') {
      this.stream.take()
      return this.deeper(token, () => this.group(token))
    }

    this.terms += 1
    if (this.terms > MAX_TERMS) throw fault(token, `at most ${MAX_TERMS} conditions are taken`)
    return parseTerm(this.stream)
  }

  /** What stands behind the parenthesis `open`. */
  private group(open: Token): Expression {
    const inner = this.joined('or')
    const closing = this.stream.take()
    if (closing.kind === 'end') throw fault(open, 'this ( is not closed')
    if (closing.kind !== ')') throw jointMissing(closing)
    return inner
  }

  /** What `parse` reads behind the token, one deeper. */
  private deeper(token: Token, parse: () => Expression): Expression {
    if (this.depth === MAX_DEPTH) {
      throw fault(token, `at most ${MAX_DEPTH} of ( and not may be nested`)
    }
    this.depth += 1
    const parsed = parse()
    this.depth -= 1
    return parsed
  }
}

/** The token follows a condition, and nothing says how the two belong together. */
function jointMissing(token: Token): SelectorError {
  const shown = showToken(token)
  const lower = lowerAscii(shown)
  return shown !== lower && isKeyword(lower)
    ? fault(token, `write ${lower} in lower case`)
    : fault(token, `"and" or "or" is missing before ${shown}`)
}
