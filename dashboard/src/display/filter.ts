/**
 * Which servers the table shows: those that a selector means, or those in which all words
 * of the query are found.
 */

import type { Server } from '../api/wire'
import { SelectorError } from '../selector/errors'
import { kindOf } from '../selector/fields'
import { hostOf } from '../selector/host'
import { parseSelector, selects } from '../selector/selector'
import type { Selector } from '../selector/selector'

/** What somebody has typed into the filter. */
export interface Filter {
  /** The words to search for, in lower case. */
  words: string[]
  /** The selector that the query is, in place of words; null if the query is words. */
  selector: Selector | null
  /** Why the query is not a selector, if somebody may have meant one; else null. */
  fault: string | null
  /** The character at which the fault begins, the first one being 1; null without one. */
  faultPlace: number | null
}

/** What stands in selectors, and hardly in what people search for. */
const SELECTORS_OWN = /[=~<>()]|\b(and|or|not|in)\b/i

/** What the query asks for. */
export function parseFilter(query: string): Filter {
  const words = query
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '')

  try {
    const selector = parseSelector(query)
    return { words, selector: isMeant(selector) ? selector : null, fault: null, faultPlace: null }
  } catch (error) {
    if (!(error instanceof SelectorError)) throw error
    if (!SELECTORS_OWN.test(query)) {
      return { words, selector: null, fault: null, faultPlace: null }
    }
    const fault = `at character ${error.place}: ${error.message}`
    return { words, selector: null, fault, faultPlace: error.place }
  }
}

/**
 * Whether the text is more likely a selector than a word to search for: "city" is found in
 * Mexico City, while a host that has any city is hardly worth a question.
 */
function isMeant({ expression }: Selector): boolean {
  if (expression.kind === 'all') return false
  if (expression.kind !== 'term' || expression.test.kind !== 'alone') return true
  return expression.field.name !== null || kindOf(expression.field) === 'switch'
}

/** The text in which words are searched, in lower case. */
export function searchText(server: Server): string {
  const { hostname, ip, city, region, country, countryCode, status, services } = server
  return [
    hostname,
    ip,
    city,
    region,
    country,
    countryCode,
    status,
    ...services.map(({ name }) => name),
  ]
    .join('\n')
    .toLowerCase()
}

/**
 * The servers whose search text has every word. `texts` are the servers' search texts, in
 * the same order.
 */
export function searchServers(
  servers: readonly Server[],
  texts: readonly string[],
  words: readonly string[],
): readonly Server[] {
  if (words.length === 0) return servers
  return servers.filter((_, index) => words.every((word) => texts[index]?.includes(word)))
}

/** The servers that the selector means at this time. */
export function selectServers(
  servers: readonly Server[],
  selector: Selector,
  nowMs: number,
): readonly Server[] {
  return servers.filter((server) => selects(selector, hostOf(server), nowMs))
}
