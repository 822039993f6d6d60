/** Times for people. */

const UNITS = [
  { name: 'd', ms: 86_400_000 },
  { name: 'h', ms: 3_600_000 },
  { name: 'min', ms: 60_000 },
  { name: 's', ms: 1_000 },
] as const

/**
 * An age, for example "12 s ago"; "just now" also if the browser's clock is behind
 * Fleetbeat's.
 */
export function ago(thenMs: number, nowMs: number): string {
  const ageMs = nowMs - thenMs
  const unit = UNITS.find(({ ms }) => ageMs >= ms)
  return unit === undefined ? 'just now' : `${Math.floor(ageMs / unit.ms)} ${unit.name} ago`
}

// One formatter serves all, because making a formatter is slow.
const format = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'long' })

/** Date and time in the user's time zone, with the name of the zone. */
export function absolute(timeMs: number): string {
  return format.format(timeMs)
}
