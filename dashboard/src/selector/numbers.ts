/** Numbers, ages, versions and addresses: read and shown as `selector/` does it. */

/** The units of ages and their milliseconds, largest first. */
const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
  ['ms', 1],
] as const

/** A hundred years, in milliseconds. */
const MAX_AGE_MS = 36_500 * 86_400_000

/** The number that the text spells; null for any other text. */
export function parseNumber(text: string): number | null {
  if (!/^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$/.test(text)) return null
  const number = Number(text)
  // There is one zero: -0 + 0 is 0.
  return Number.isFinite(number) ? number + 0 : null
}

/** The shortest text that spells the number. */
export function showNumber(number: number): string {
  return String(number).replace('e+', 'e')
}

/** The milliseconds of an age, a whole number and a unit. */
export function parseAge(text: string): number | null {
  const [, number, name] = /^([0-9]+)([a-z]+)$/.exec(text) ?? []
  const unit = UNITS.find(([known]) => known === name)
  if (unit === undefined) return null
  const ageMs = Number(number) * unit[1]
  return ageMs <= MAX_AGE_MS ? ageMs : null
}

/** The age in the largest unit that leaves no rest. */
export function showAge(ageMs: number): string {
  const unit = UNITS.find(([, unitMs]) => ageMs > 0 && ageMs % unitMs === 0)
  return unit === undefined ? '0s' : `${ageMs / unit[1]}${unit[0]}`
}

/** The one to four numbers of a version. */
export function parseVersion(text: string): number[] | null {
  const numbers = parseNumbers(text)
  return numbers !== null && numbers.length <= 4 ? numbers : null
}

/**
 * Less than 0 if the version `text` of a host is less than `bound`, and so on; null if the
 * text begins with anything but numbers. What is missing counts as 0, and `1.2.0-rc.1` is
 * less than `1.2.0`.
 */
export function compareVersion(text: string, bound: readonly number[]): number | null {
  const start = /^[0-9.]*/.exec(text)?.[0] ?? ''
  const numbers = parseNumbers(start)
  if (numbers === null) return null

  for (let place = 0; place < Math.max(numbers.length, bound.length); place += 1) {
    const order = (numbers[place] ?? 0) - (bound[place] ?? 0)
    if (order !== 0) return order
  }
  return text.charAt(start.length) === '-' ? -1 : 0
}

function parseNumbers(text: string): number[] | null {
  const numbers = text.split('.')
  return numbers.every((number) => /^[0-9]{1,9}$/.test(number)) ? numbers.map(Number) : null
}

/** The address in canonical form; null for any other text. */
export function parseAddress(text: string): string | null {
  return text.includes(':') ? parseIpv6(text) : parseIpv4(text)
}

function parseIpv4(text: string): string | null {
  const isNumber = (part: string) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255
  const parts = text.split('.')
  return parts.length === 4 && parts.every(isNumber) ? text : null
}

/** The browser knows IPv6 addresses from URLs. */
function parseIpv6(text: string): string | null {
  const url = `http://[${text}]`
  if (!/^[0-9A-Fa-f:.]+$/.test(text) || !URL.canParse(url)) return null
  const canonical = new URL(url).hostname.slice(1, -1)

  const [, high, low] = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(canonical) ?? []
  if (high === undefined || low === undefined) return canonical
  const bits = [high, low].map((part) => parseInt(part, 16))
  return bits.flatMap((part) => [part >> 8, part & 0xff]).join('.')
}
