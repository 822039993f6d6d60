/**
 * The bodies of Fleetbeat's API, as `protocol/` defines the bodies.
 *
 * Beside each type stands a shape: a check for each field of the type. The client checks
 * an answer against the shape before the page trusts the type. The compiler holds each
 * shape to its type, field by field and kind by kind. Tests hold the shapes to the Rust
 * side: to the schemas in openapi.json, and to the golden bodies in `protocol/golden/`.
 */

import {
  isBoolean,
  isListOfTexts,
  isNumber,
  isRecordOfNumbers,
  isRecordOfTexts,
  isText,
  isTime,
  listOf,
  matches,
  oneOf,
  orAbsent,
  orNull,
  shaped,
} from './shape'
import type { Check, Shape } from './shape'

export { isListOf, listOf, matches, shaped } from './shape'
export type { Check, Shape } from './shape'

const ROLES = ['readonly', 'admin', 'superadmin'] as const
/** What a user may do. */
export type Role = (typeof ROLES)[number]

/** Who is logged in: the answer to `GET /me`. */
export interface Account {
  username: string
  role: Role
  /** Whether a login needs a code besides the password. */
  totp: boolean
  /** The selector of the hosts that the user sees and changes; null for every host. */
  scope: string | null
}

/** The answer to a login. */
export interface Token {
  access_token: string
  token_type: string
}

/** What admins set on a server, in the order of the columns. */
export const FLAGS = ['gaming', 'streaming', 'paid', 'enabled', 'static'] as const
/** The name of a flag. */
export type Flag = (typeof FLAGS)[number]
/** All flags of a server. */
export type Flags = Record<Flag, boolean>

/** A service of a host, and whether the host runs the service. */
export interface Service {
  name: string
  active: boolean
}

/** Percentages, from 0 to 100; null where the host could not measure. */
export interface Load {
  cpu: number | null
  ram: number | null
  net: number | null
}

const STATUSES = ['active', 'down'] as const
/** Whether a host's heartbeats come. */
export type Status = (typeof STATUSES)[number]

const MODES = ['normal', 'drain', 'maintenance'] as const
/** How a host is to be used. */
export type Mode = (typeof MODES)[number]

/** What admins have set, unless it is over, or what the host asks for. */
export interface State {
  mode: Mode
  /** RFC 3339, as `since`: when it ends by itself. */
  until: string | null
  reason: string | null
  /** Since when the mode is this one; null if nobody has set it. */
  since: string | null
}

/** Where admins say that a host is. */
export interface Geo {
  country_code?: string
  country?: string
  city?: string
  latitude?: number
  longitude?: number
}

const COUNTS = ['sum', 'max', 'sent', 'received'] as const

/** What a host may cost. */
export interface Billing {
  day?: number
  quota_bytes?: number
  /** Which traffic counts. */
  count?: (typeof COUNTS)[number]
  /** The last day that is paid, such as 2026-12-31. */
  expires_on?: string
}

/** What admins know of a host. A setting that is missing is not set. */
export interface Settings {
  max_sessions?: number
  bandwidth_mbps?: number
  capacity?: number
  admin_weight?: number
  attributes?: string[]
  geo?: Geo
  billing?: Billing
}

const LOAD_REASONS = ['cpu', 'network', 'clients', 'conntrack', 'ram'] as const
/** What a host has, and can use up. */
export type LoadReason = (typeof LOAD_REASONS)[number]

const GEO_SOURCES = ['agent', 'admin', 'database'] as const

/** Where a host is, beside the names of country and city. */
export interface ShownGeo {
  /** Who has said it; null if nobody has. */
  source: (typeof GEO_SOURCES)[number] | null
  latitude: number | null
  longitude: number | null
}

/** A VPN host: an element of the answer to `GET /servers`. */
export interface Server extends Flags {
  server_id: string
  ip: string
  hostname: string
  countryCode: string
  country: string
  region: string | null
  city: string
  status: Status
  /** RFC 3339, as `first_heartbeat`. */
  last_heartbeat: string
  first_heartbeat: string
  /** Since the host was down, or ever; null if that was before this was noted. */
  up_since: string | null
  load: Load
  services: Service[]
  metrics: Record<string, number>
  /** The version of the agent; null if it has told none. */
  agent_version: string | null
  /** The tags of the agent's configuration: values by key. */
  agent_tags: Record<string, string>
  /** Where the last heartbeat's connection came from; null if nobody could tell. */
  observed_ip: string | null
  /** Whether heartbeats came from `ip` itself. */
  ip_confirmed: boolean
  /** The tags that admins have set: values by key. */
  tags: Record<string, string>
  /** How the host is to be used, at the moment of the answer. */
  state: State
  /** What admins know of the host that it does not tell. */
  settings: Settings
  /** The most of what is used of all that the host has; null if nothing is known. */
  load_percent: number | null
  /** Of what the most is used. */
  load_reason: LoadReason | null
  /** The host's share of the next clients, compared with other hosts. */
  weight: number
  geo: ShownGeo
}

/** What a host has used of its billing cycle: an element of the answer to `GET /traffic`. */
export interface HostTraffic {
  server_id: string
  ip: string
  hostname: string
  /** RFC 3339: when the cycle begins, and when the next one does. */
  from: string
  to: string
  /** Bytes; null where nothing is known. */
  rx_bytes: number | null
  tx_bytes: number | null
  /** What counts of both. */
  used_bytes: number | null
  count: (typeof COUNTS)[number]
  quota_bytes: number | null
  /** What will have been used at the end; null for a cycle that has just begun, or is over. */
  forecast_bytes: number | null
  over_quota: boolean | null
  /** The last day that is paid, such as 2026-12-31. */
  expires_on: string | null
  days_left: number | null
  /** Since when the traffic is known. */
  known_from: string | null
  /** Whether everything of the cycle is known. */
  complete: boolean
}

/** The answer to `GET /traffic`. */
export interface Traffic {
  servers: HostTraffic[]
}

/** What has changed since the last answer: an answer to `GET /servers/changes`. */
export interface Delta {
  changed: Server[]
  /** Addresses at which there is no host any more. */
  removed: string[]
  cursor: string
}

/** What has changed is not known: the whole list has to be read. */
export interface Reset {
  reset: true
  cursor: string
}

/** The answer to `GET /servers/changes`. */
export type Changes = Delta | Reset

/** What to set on a host; a tag that is null is removed. */
export interface BulkSet extends Partial<Flags> {
  tags?: Record<string, string | null>
  state?: { mode: Mode; until?: string | null; reason?: string | null }
}

/** What was done for `POST /servers/bulk`. */
export interface BulkAnswer {
  bulk_id: string
  changed: number
  failed: number
  /** The address of the first host that was not done; null if all were. */
  stopped_at: string | null
}

/** A rule that a field of a request's body breaks. */
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
  /** For 404: the address of the host that had the asked address before. */
  moved_to?: string
  /** A word for programs, where the status says too little. */
  code?: string
  /** What is missing of a second factor: a code, or the second factor itself. */
  totp?: 'required' | 'setup'
  /** For 409 of a change of many hosts: the hosts that are meant. */
  matched?: MatchedHosts
}

/** The hosts that a selector means: how many, and the first twenty by address. */
export interface MatchedHosts {
  hosts: number
  first: MatchedHost[]
}

/** A host, as far as people need it to know which one is meant. */
export interface MatchedHost {
  ip: string
  hostname: string
}

export const ACCOUNT: Shape<Account> = {
  username: isText,
  role: oneOf(ROLES),
  totp: isBoolean,
  scope: orNull(isText),
}

export const TOKEN: Shape<Token> = { access_token: isText, token_type: isText }

export const LOAD: Shape<Load> = {
  cpu: orNull(isNumber),
  ram: orNull(isNumber),
  net: orNull(isNumber),
}

export const SERVICE: Shape<Service> = { name: isText, active: isBoolean }

export const STATE: Shape<State> = {
  mode: oneOf(MODES),
  until: orNull(isTime),
  reason: orNull(isText),
  since: orNull(isTime),
}

export const GEO: Shape<Geo> = {
  country_code: orAbsent(isText),
  country: orAbsent(isText),
  city: orAbsent(isText),
  latitude: orAbsent(isNumber),
  longitude: orAbsent(isNumber),
}

export const BILLING: Shape<Billing> = {
  day: orAbsent(isNumber),
  quota_bytes: orAbsent(isNumber),
  count: orAbsent(oneOf(COUNTS)),
  expires_on: orAbsent(isText),
}

export const SETTINGS: Shape<Settings> = {
  max_sessions: orAbsent(isNumber),
  bandwidth_mbps: orAbsent(isNumber),
  capacity: orAbsent(isNumber),
  admin_weight: orAbsent(isNumber),
  attributes: orAbsent(isListOfTexts),
  geo: orAbsent(shaped(GEO)),
  billing: orAbsent(shaped(BILLING)),
}

export const SHOWN_GEO: Shape<ShownGeo> = {
  source: orNull(oneOf(GEO_SOURCES)),
  latitude: orNull(isNumber),
  longitude: orNull(isNumber),
}

export const SERVER: Shape<Server> = {
  server_id: isText,
  ip: isText,
  hostname: isText,
  countryCode: isText,
  country: isText,
  region: orNull(isText),
  city: isText,
  status: oneOf(STATUSES),
  last_heartbeat: isTime,
  first_heartbeat: isTime,
  up_since: orNull(isTime),
  load: shaped(LOAD),
  services: listOf(SERVICE),
  metrics: isRecordOfNumbers,
  agent_version: orNull(isText),
  agent_tags: isRecordOfTexts,
  observed_ip: orNull(isText),
  ip_confirmed: isBoolean,
  tags: isRecordOfTexts,
  state: shaped(STATE),
  settings: shaped(SETTINGS),
  load_percent: orNull(isNumber),
  load_reason: orNull(oneOf(LOAD_REASONS)),
  weight: isNumber,
  geo: shaped(SHOWN_GEO),
  gaming: isBoolean,
  streaming: isBoolean,
  paid: isBoolean,
  enabled: isBoolean,
  static: isBoolean,
}

export const HOST_TRAFFIC: Shape<HostTraffic> = {
  server_id: isText,
  ip: isText,
  hostname: isText,
  from: isTime,
  to: isTime,
  rx_bytes: orNull(isNumber),
  tx_bytes: orNull(isNumber),
  used_bytes: orNull(isNumber),
  count: oneOf(COUNTS),
  quota_bytes: orNull(isNumber),
  forecast_bytes: orNull(isNumber),
  over_quota: orNull(isBoolean),
  expires_on: orNull(isText),
  days_left: orNull(isNumber),
  known_from: orNull(isTime),
  complete: isBoolean,
}

export const TRAFFIC: Shape<Traffic> = { servers: listOf(HOST_TRAFFIC) }

export const FIELD_ERROR: Shape<FieldError> = { field: isText, message: isText }

const MATCHED_HOST: Shape<MatchedHost> = { ip: isText, hostname: isText }

export const MATCHED_HOSTS: Shape<MatchedHosts> = {
  hosts: isNumber,
  first: listOf(MATCHED_HOST),
}

export const PROBLEM: Shape<Problem> = {
  status: isNumber,
  title: isText,
  detail: isText,
  request_id: isText,
  errors: orAbsent(listOf(FIELD_ERROR)),
  moved_to: orAbsent(isText),
  code: orAbsent(isText),
  totp: orAbsent(oneOf(['required', 'setup'])),
  matched: orAbsent(shaped(MATCHED_HOSTS)),
}

const DELTA: Shape<Delta> = {
  changed: listOf(SERVER),
  removed: isListOfTexts,
  cursor: isText,
}

const RESET: Shape<Reset> = {
  reset: (value): value is true => value === true,
  cursor: isText,
}

/** Whether the value is an answer to `GET /servers/changes`. */
export const isChanges: Check<Changes> = (value): value is Changes =>
  matches(RESET, value) || matches(DELTA, value)

export const BULK_ANSWER: Shape<BulkAnswer> = {
  bulk_id: isText,
  changed: isNumber,
  failed: isNumber,
  stopped_at: orNull(isText),
}
