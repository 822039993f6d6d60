/** From characters to tokens. */

import { SelectorError } from './errors'
import { OPERATORS } from './operators'
import type { Operator } from './operators'
import { isCurlyQuote, isPlain, isUnseen, quoted } from './text'

/** What a token is. */
export type TokenKind =
  | { kind: 'word' | 'quoted'; text: string }
  | { kind: 'operator'; operator: Operator }
  | { kind: '(' | ')' | ',' | 'end' }

/** A part of the text: its first character, counted from 1, and the one behind its last. */
export type Token = TokenKind & { place: number; end: number }

/** What people write in place of an operator or a keyword. */
const MEANT = [
  ['==', '='],
  ['=~', '~'],
  ['=>', '>='],
  ['=<', '<='],
  ['<>', '!='],
  ['&&', 'and'],
  ['||', 'or'],
  ['&', 'and'],
  ['|', 'or'],
] as const

/** Whether the token is this keyword. */
export function isWord(token: Token, keyword: string): boolean {
  return token.kind === 'word' && token.text === keyword
}

/** The token as it is written. */
export function showToken(token: Token): string {
  switch (token.kind) {
    case 'word':
      return token.text
    case 'quoted':
      return quoted(token.text)
    case 'operator':
      return token.operator
    case 'end':
      return 'the end'
    default:
      return token.kind
  }
}

/** All tokens of the text; the last one is its end. */
export function tokensOf(text: string): Token[] {
  const lexer = new Lexer(text)
  const tokens = [lexer.next()]
  while (tokens.at(-1)?.kind !== 'end') tokens.push(lexer.next())
  return tokens
}

/** The text, and how much of it has been read. */
class Lexer {
  private readonly characters: readonly string[]
  private at = 0

  constructor(text: string) {
    this.characters = Array.from(text)
  }

  next(): Token {
    while (/^[ \t\r\n]$/.test(this.peek())) this.at += 1

    const place = this.at + 1
    const kind = this.read(this.peek())
    return { ...kind, place, end: this.at + 1 }
  }

  /** The next character; empty at the end. */
  private peek(): string {
    return this.characters[this.at] ?? ''
  }

  private read(character: string): TokenKind {
    if (character === '') return { kind: 'end' }
    if (character === '"') return { kind: 'quoted', text: this.quoted() }
    if (isPlain(character)) return { kind: 'word', text: this.word() }
    return this.sign(character)
  }

  private word(): string {
    let text = ''
    while (this.peek() !== '' && isPlain(this.peek())) {
      text += this.peek()
      this.at += 1
    }
    return text
  }

  private quoted(): string {
    const opening = this.at + 1
    let text = ''
    for (this.at += 1; this.peek() !== '"'; this.at += 1) {
      if (this.peek() === '') throw new SelectorError(opening, 'this quote is not closed')
      if (this.peek() === '\\') {
        const escaped = this.characters[this.at + 1]
        if (escaped !== '"' && escaped !== '\\') {
          throw this.fault('in quotes, \\ stands only before " and \\')
        }
        this.at += 1
      }
      text += this.peek()
    }
    this.at += 1
    return text
  }

  /** An operator, a parenthesis or a comma. */
  private sign(character: string): TokenKind {
    if (character === '(' || character === ')' || character === ',') {
      this.at += 1
      return { kind: character }
    }

    const pair = MEANT.find(([wrong]) => this.has(wrong))
    if (pair !== undefined) throw this.fault(`write ${pair[1]} in place of ${pair[0]}`)

    const operator = OPERATORS.find((known) => this.has(known))
    if (operator === undefined) throw this.fault(describe(character))
    this.at += operator.length
    return { kind: 'operator', operator }
  }

  /** Whether the rest begins with the text. */
  private has(text: string): boolean {
    return this.characters.slice(this.at, this.at + text.length).join('') === text
  }

  private fault(message: string): SelectorError {
    return new SelectorError(this.at + 1, message)
  }
}

/** What is wrong with a character outside of quotes. */
function describe(character: string): string {
  if (character === '!') return 'write not in place of !'
  if (character === "'" || isCurlyQuote(character)) return `write " in place of ${character}`
  if (isUnseen(character)) {
    const code = (character.codePointAt(0) ?? 0).toString(16).toUpperCase()
    return `U+${code.padStart(4, '0')} cannot be seen: outside of quotes, write a blank`
  }
  return `${character} has to stand in double quotes`
}
