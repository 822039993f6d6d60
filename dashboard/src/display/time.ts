/** Times for people. */

const UNITS = [
  { name: 'd', ms: 86_400_000 },
  { name: 'h', ms: 3_600_000 },
  { name: 'min', ms: 60_000 },
  { name: 's', ms: 1_000 },
] as const

/** "12 s ago". The browser's clock may be behind Fleetbeat's: then it is "just now". */
export function ago(thenMs: number, nowMs: number): string {
  const ageMs = nowMs - thenMs
  const unit = UNITS.find(({ ms }) => ageMs >= ms)
  return unit === undefined ? 'just now' : `${Math.floor(ageMs / unit.ms)} ${unit.name} ago`
}

// One formatter for all: making one is what costs.
const format = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'long' })

/** Date and time in the user's own zone, which it names. */
export function absolute(timeMs: number): string {
  return format.format(timeMs)
}
