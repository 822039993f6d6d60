/**
 * The bodies of Fleetbeat's API, as `protocol/` defines them.
 *
 * Every type has a shape beside it: the same fields as checks that run, so that an answer is known to be
 * what its type says. The golden bodies in `protocol/golden/` hold both to the Rust side.
 */

export type Role = 'readonly' | 'admin' | 'superadmin'

export interface Account {
  username: string
  role: Role
}

export interface Token {
  access_token: string
  token_type: string
}

/** What admins set on a server, in the order they are shown. */
export const FLAGS = ['gaming', 'streaming', 'paid', 'enabled', 'static'] as const
export type Flag = (typeof FLAGS)[number]
export type Flags = Record<Flag, boolean>

export interface Service {
  name: string
  active: boolean
}

/** Percentages; null where the host could not measure. */
export interface Load {
  cpu: number | null
  ram: number | null
  net: number | null
}

/** A VPN host: an element of `GET /servers`. */
export interface Server extends Flags {
  server_id: string
  ip: string
  hostname: string
  countryCode: string
  country: string
  region: string | null
  city: string
  status: 'active' | 'down'
  last_heartbeat: string
  first_heartbeat: string
  load: Load
  services: Service[]
  metrics: Record<string, number>
}

export interface FieldError {
  field: string
  message: string
}

/** RFC 9457 problem details, the body of every error. */
export interface Problem {
  status: number
  title: string
  detail: string
  request_id: string
  errors?: FieldError[]
}

type Check = (value: unknown) => boolean
export type Shape<T> = Record<keyof T, Check>

/** Whether `value` has every field of the shape. More fields are fine: the API only ever gains some. */
export function matches<T>(shape: Shape<T>, value: unknown): value is T {
  if (!isObject(value)) return false
  for (const field in shape) {
    if (!shape[field](value[field])) return false
  }
  return true
}

export function isListOf<T>(shape: Shape<T>, value: unknown): value is T[] {
  return Array.isArray(value) && value.every((item) => matches(shape, item))
}

const isText: Check = (value) => typeof value === 'string'
const isNumber: Check = (value) => typeof value === 'number'
const isBoolean: Check = (value) => typeof value === 'boolean'
const isTime: Check = (value) => typeof value === 'string' && !Number.isNaN(Date.parse(value))
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const orNull =
  (check: Check): Check =>
  (value) =>
    value === null || check(value)
const oneOf =
  (...names: string[]): Check =>
  (value) =>
    names.includes(value as string)

export const ACCOUNT: Shape<Account> = {
  username: isText,
  role: oneOf('readonly', 'admin', 'superadmin'),
}

export const TOKEN: Shape<Token> = { access_token: isText, token_type: isText }

export const LOAD: Shape<Load> = {
  cpu: orNull(isNumber),
  ram: orNull(isNumber),
  net: orNull(isNumber),
}

export const SERVICE: Shape<Service> = { name: isText, active: isBoolean }

export const SERVER: Shape<Server> = {
  server_id: isText,
  ip: isText,
  hostname: isText,
  countryCode: isText,
  country: isText,
  region: orNull(isText),
  city: isText,
  status: oneOf('active', 'down'),
  last_heartbeat: isTime,
  first_heartbeat: isTime,
  load: (value) => matches(LOAD, value),
  services: (value) => isListOf(SERVICE, value),
  metrics: (value) => isObject(value) && Object.values(value).every(isNumber),
  gaming: isBoolean,
  streaming: isBoolean,
  paid: isBoolean,
  enabled: isBoolean,
  static: isBoolean,
}

export const FIELD_ERROR: Shape<FieldError> = { field: isText, message: isText }

export const PROBLEM: Shape<Problem> = {
  status: isNumber,
  title: isText,
  detail: isText,
  request_id: isText,
  errors: (value) => value === undefined || isListOf(FIELD_ERROR, value),
}
