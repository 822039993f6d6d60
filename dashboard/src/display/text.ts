/**
 * Texts that hosts and other programs have made up: a name may hold any character, and
 * some characters spoof the sight.
 */

/**
 * What a reader cannot see: controls, formats such as those that turn the direction of
 * writing, line ends, and halves of characters.
 */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu

/**
 * The text with a visible sign in the place of each character that cannot be seen. A name
 * with U+202E would otherwise be read backwards, and two names that differ in an unseen
 * character would look the same.
 */
export function visible(text: string): string {
  return text.replace(UNSEEN, (character) => {
    const code = (character.codePointAt(0) ?? 0).toString(16).toUpperCase()
    return `⟨U+${code.padStart(4, '0')}⟩`
  })
}

/** The same of a text of several lines, which stay lines. */
export function visibleLines(text: string): string {
  return text.split('\n').map(visible).join('\n')
}
