/** Times for people, in the language and the time zone of the user. */

import { language, t } from '../i18n'

const UNITS = [
  { name: 'time.days', ms: 86_400_000 },
  { name: 'time.hours', ms: 3_600_000 },
  { name: 'time.minutes', ms: 60_000 },
  { name: 'time.seconds', ms: 1_000 },
] as const

/**
 * An age, for example "12 s ago"; "just now" also if the browser's clock is behind
 * Fleetbeat's.
 */
export function ago(thenMs: number, nowMs: number): string {
  const ageMs = nowMs - thenMs
  return ageMs < 1_000 ? t('time.now') : t('time.ago', { age: span(ageMs) })
}

/** A span of time in its largest unit, for example "12 s". */
export function span(ms: number): string {
  const unit = UNITS.find((candidate) => ms >= candidate.ms) ?? UNITS[3]
  return t(unit.name, { n: Math.floor(ms / unit.ms) })
}

// Making a formatter is slow, so each is made once for each language.
const formats = new Map<string, Intl.DateTimeFormat>()

function format(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${language()} ${JSON.stringify(options)}`
  let made = formats.get(key)
  if (made === undefined) {
    made = new Intl.DateTimeFormat(language(), options)
    formats.set(key, made)
  }
  return made
}

/** Date and time in the user's time zone, with the name of the zone. */
export function absolute(timeMs: number): string {
  return format({ dateStyle: 'medium', timeStyle: 'long' }).format(timeMs)
}

/** Date and time in the user's time zone, to the minute. */
export function shortTime(timeMs: number): string {
  return format({ dateStyle: 'short', timeStyle: 'short' }).format(timeMs)
}

/** Date and time in UTC. */
export function utc(timeMs: number): string {
  const time = format({ dateStyle: 'medium', timeStyle: 'medium', timeZone: 'UTC' }).format(timeMs)
  return t('time.utc', { time })
}

/** The time as an input of the browser has it (`datetime-local`): in the user's time zone. */
export function inputTime(timeMs: number): string {
  const time = new Date(timeMs)
  const two = (n: number) => String(n).padStart(2, '0')
  const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`
  return `${day}T${two(time.getHours())}:${two(time.getMinutes())}`
}
