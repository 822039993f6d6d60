/** Texts: which need quotes, and how two are compared. */

/** Words that have a meaning of their own, and so are no values without quotes. */
const KEYWORDS: readonly string[] = ['and', 'or', 'not', 'in', 'all']

export function isKeyword(word: string): boolean {
  return KEYWORDS.includes(word)
}

/** The text in lower case, a part for each character. Rust's side looks at no neighbours. */
export function fold(text: string): string[] {
  return Array.from(text, (character) => character.toLowerCase())
}

/** The text in lower case, ASCII's letters alone. */
export function lowerAscii(text: string): string {
  return text.replace(/[A-Z]/g, (letter) => letter.toLowerCase())
}

/** Whether two texts are the same but for upper and lower case. */
export function isSameText(one: string, other: string): boolean {
  return fold(one).join('') === fold(other).join('')
}

/**
 * Whether the pattern covers the whole text, in whatever case: `*` stands for any
 * characters, `?` for one.
 */
export function covers(pattern: string, text: string): boolean {
  const wanted = fold(pattern)
  const given = fold(text)
  // Where to go on when the last star takes one character more.
  let star: { pattern: number; text: number } | null = null
  let place = 0

  for (let at = 0; at < given.length;) {
    const next = wanted[place]
    if (next === '*') {
      star = { pattern: place, text: at }
      place += 1
    } else if (next === '?' || next === given[at]) {
      place += 1
      at += 1
    } else if (star !== null) {
      star.text += 1
      place = star.pattern + 1
      at = star.text
    } else {
      return false
    }
  }
  return wanted.slice(place).every((rest) => rest === '*')
}

/** The value, with quotes if it needs some. */
export function showText(text: string): string {
  // Without quotes, `*` and `?` would be refused: they are mistaken for a pattern.
  return /[*?]/.test(text) ? quoted(text) : showPattern(text)
}

/** The pattern, with quotes if it needs some. */
export function showPattern(pattern: string): string {
  return isPlainText(pattern) && !isKeyword(pattern) ? pattern : quoted(pattern)
}

/** The name that a field holds, with quotes if it needs some. */
export function showName(name: string): string {
  return isPlainText(name) && !/[*?]/.test(name) ? name : quoted(name)
}

export function quoted(text: string): string {
  return `"${text.replace(/[\\"]/g, (character) => `\\${character}`)}"`
}

function isPlainText(text: string): boolean {
  return text !== '' && Array.from(text).every(isPlain)
}

/**
 * Whether the character may stand outside of quotes, in names and values. Fixed lists and
 * not Unicode's properties, because those change with each version of each language.
 */
export function isPlain(character: string): boolean {
  return character <= '\u007f'
    ? /[A-Za-z0-9._\-:/@+%*?]/.test(character)
    : !isUnseen(character) && !isCurlyQuote(character)
}

/** Whether nobody sees the character: controls, and blanks that are not the usual ones. */
export function isUnseen(character: string): boolean {
  const code = character.codePointAt(0) ?? 0
  return code < 0x20 || UNSEEN.some(([first, last]) => code >= first && code <= last)
}

const UNSEEN: readonly (readonly [number, number])[] = [
  [0x7f, 0xa0],
  [0xad, 0xad],
  [0x1680, 0x1680],
  [0x180e, 0x180e],
  [0x2000, 0x200f],
  [0x2028, 0x202f],
  [0x205f, 0x206f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
]

/** Whether a word processor makes the character of `"` or `'`. */
export function isCurlyQuote(character: string): boolean {
  return character >= '\u2018' && character <= '\u201f'
}
