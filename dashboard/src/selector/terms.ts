/** From tokens to one condition. */

import { findField, findNamed, listFields, meant } from './fields'
import type { Field } from './fields'
import { isWord, showToken } from './lexer'
import type { Token } from './lexer'
import { faultOfOperator, parseLiteral } from './literals'
import type { Literal } from './literals'
import { parseAddress } from './numbers'
import { isEquality } from './operators'
import type { Operator } from './operators'
import { isKeyword, lowerAscii, quoted } from './text'
import { fault } from './tokens'
import type { TokenStream } from './tokens'
import type { Expression, Test } from './tree'

/** The most characters of a tag's key. */
const MAX_KEY_CHARS = 63

const WILD = /[*?]/

/** The condition that comes next. */
export function parseTerm(stream: TokenStream): Expression {
  const token = stream.next
  if (isWord(token, 'all')) {
    stream.take()
    return { kind: 'all' }
  }
  if (token.kind === 'word' && !isKeyword(token.text)) {
    stream.take()
    const field = parseField(stream, token, token.text)
    return { kind: 'term', field, test: parseTest(stream, field) }
  }
  if (token.kind === 'quoted') throw fault(token, 'a text stands behind a field and an operator')
  if (token.kind === 'end') throw fault(token, 'a condition is missing at the end')
  throw fault(token, `a condition is missing before ${showToken(token)}`)
}

/** The field that the word names, together with a name in quotes that follows at once. */
function parseField(stream: TokenStream, token: Token, word: string): Field {
  const plain = findField(word)
  if (plain !== null) return plain
  const named = findNamed(word)
  if (named === null) throw fault(token, describeUnknown(word))

  const { key, rest } = named
  const { next } = stream
  let name = rest
  if (next.kind === 'quoted' && rest === '' && next.place === token.end) {
    stream.take()
    name = next.text
  }
  if (name === '') throw fault(token, `a name is missing behind ${word}`)
  if (WILD.test(rest)) {
    throw fault(token, `a name is not a pattern: write ${quoted(rest)} in quotes`)
  }
  if (key === 'tag' && !isKey(name)) {
    throw fault(
      token,
      `a tag's key has a-z, 0-9 and . _ / - behind the first letter or digit, and at most ${MAX_KEY_CHARS} characters`,
    )
  }
  return { key, name }
}

/** What the field is asked for. */
function parseTest(stream: TokenStream, field: Field): Test {
  const token = stream.next
  if (token.kind === 'operator') {
    stream.take()
    const { operator } = token
    checkOperator(field, operator, token)
    return { kind: 'compare', operator, literal: parseValue(stream, field, operator, operator) }
  }

  const isNegated = isWord(token, 'not') && isWord(stream.second, 'in')
  if (!isNegated && !isWord(token, 'in')) return { kind: 'alone' }
  if (isNegated) stream.take()
  checkOperator(field, 'in', stream.take())
  return { kind: isNegated ? 'not in' : 'in', literals: parseValues(stream, field) }
}

function checkOperator(field: Field, operator: Operator | 'in', token: Token): void {
  const wrong = faultOfOperator(field, operator)
  if (wrong !== null) throw fault(token, wrong)
}

/** The values behind `in`. */
function parseValues(stream: TokenStream, field: Field): Literal[] {
  const open = stream.take()
  if (open.kind !== '(') throw fault(open, '( is missing behind in')

  const values = [parseValue(stream, field, '=', '(')]
  for (;;) {
    const token = stream.take()
    if (token.kind === ')') return values
    if (token.kind === 'end') throw fault(open, 'this ( is not closed')
    if (token.kind !== ',') {
      throw fault(token, `"," or ")" is missing before ${showToken(token)}`)
    }
    values.push(parseValue(stream, field, '=', ','))
  }
}

/** The value behind `before`, which is compared by the operator. */
function parseValue(
  stream: TokenStream,
  field: Field,
  operator: Operator,
  before: string,
): Literal {
  const token = stream.take()
  if (token.kind !== 'word' && token.kind !== 'quoted') {
    throw fault(token, `a value is missing behind ${before}`)
  }
  const { text } = token
  if (token.kind === 'word' && isKeyword(text)) {
    throw fault(token, `as a value, ${text} has to stand in double quotes`)
  }
  if (token.kind === 'word' && isEquality(operator) && WILD.test(text)) {
    throw fault(token, `whole texts are compared here: write ~ for a pattern, or ${quoted(text)}`)
  }

  const parsed = parseLiteral(field, operator, text)
  if ('fault' in parsed) throw fault(token, parsed.fault)
  return parsed.literal
}

/** What to write in place of a word that is not a field. */
function describeUnknown(word: string): string {
  const lower = lowerAscii(word)
  if (isKeyword(lower)) return `write ${lower} in lower case`

  const told = `${quoted(word)} is not a field`
  if (WILD.test(word)) return `${told}: for the name of a host, write hostname ~ ${word}`
  const address = parseAddress(word)
  if (address !== null) return `${told}: for an address, write ip = ${address}`

  const right = meant(lower)
  const tag = isKey(lower) ? `or a tag, write tag.${lower}` : null
  if (right !== null) return `${told}: did you mean ${right}?${tag === null ? '' : ` F${tag}`}`
  return tag === null ? `${told}; fields are ${listFields()}` : `${told}: f${tag}`
}

/** Whether a tag may have this key. */
function isKey(text: string): boolean {
  return text.length <= MAX_KEY_CHARS && /^[a-z0-9][a-z0-9._/-]*$/.test(text)
}
