/** The fields that a selector may ask about, as `selector/src/field.rs` has them. */

import { showName } from './text'

/** What the values of a field are, which decides how the field is compared. */
export type Kind = 'text' | 'address' | 'status' | 'version' | 'switch' | 'number' | 'age' | 'tag'

const PLAIN = {
  ip: 'address',
  server_id: 'text',
  hostname: 'text',
  country: 'text',
  region: 'text',
  city: 'text',
  status: 'status',
  agent_version: 'version',
  enabled: 'switch',
  static: 'switch',
  gaming: 'switch',
  streaming: 'switch',
  paid: 'switch',
  draining: 'switch',
  maintenance: 'switch',
  load: 'number',
  'load.cpu': 'number',
  'load.ram': 'number',
  'load.net': 'number',
  clients: 'number',
  last_heartbeat: 'age',
} as const satisfies Record<string, Kind>

const NAMED = { service: 'switch', tag: 'tag', metric: 'number' } as const satisfies Record<
  string,
  Kind
>

/** The fields that hold no further name. */
export const PLAIN_FIELDS: readonly string[] = Object.keys(PLAIN)

/** The name of a field that holds no further name. */
export type PlainField = keyof typeof PLAIN
/** What stands before the further name that a field holds. */
export type NamedField = keyof typeof NAMED

/** A field of a host; `name` is the further name that it holds. */
export type Field = { key: PlainField; name: null } | { key: NamedField; name: string }

/** What people write in place of a field's name. */
const MEANT: Partial<Record<string, PlainField>> = {
  address: 'ip',
  host: 'hostname',
  name: 'hostname',
  country_code: 'country',
  countrycode: 'country',
  version: 'agent_version',
  drain: 'draining',
  cpu: 'load.cpu',
  ram: 'load.ram',
  net: 'load.net',
  last_seen: 'last_heartbeat',
  heartbeat: 'last_heartbeat',
}

function isPlain(word: string): word is PlainField {
  return Object.hasOwn(PLAIN, word)
}

/** The field of this name that holds no further name. */
export function findField(word: string): Field | null {
  return isPlain(word) ? { key: word, name: null } : null
}

/** The field that holds a further name, and what of the word is that name. */
export function findNamed(word: string): { key: NamedField; rest: string } | null {
  for (const key of Object.keys(NAMED) as NamedField[]) {
    if (word.startsWith(`${key}.`)) return { key, rest: word.slice(key.length + 1) }
  }
  return null
}

export function kindOf(field: Field): Kind {
  return field.name === null ? PLAIN[field.key] : NAMED[field.key]
}

/** The field as it is written. */
export function showField(field: Field): string {
  return field.name === null ? field.key : `${field.key}.${showName(field.name)}`
}

/** The field that somebody probably means who writes the word. */
export function meant(word: string): string | null {
  for (const key of Object.keys(NAMED)) {
    // `services.wg` for `service.wg`.
    for (const wrong of [`${key}s.`, `${key}.`]) {
      if (word.startsWith(wrong)) return `${key}.${word.slice(wrong.length)}`
    }
  }
  if (isPlain(word)) return word
  return Object.hasOwn(MEANT, word) ? (MEANT[word] ?? null) : null
}

/** All names, for messages. */
export function listFields(): string {
  return [...Object.keys(PLAIN), 'service.NAME', 'tag.KEY', 'metric.NAME'].join(', ')
}
