/** Requests about alerts, mutes, rules, channels and messages. */

import { queryOf, read, withJson } from './requests'
import type { Requests } from './requests'
import type { components } from './schema'
import {
  isBoolean,
  isListOfTexts,
  isNumber,
  isObject,
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

type Schemas = components['schemas']

export const SEVERITIES = ['critical', 'warning', 'info'] as const
/** How bad it is, the worst first. */
export type Severity = (typeof SEVERITIES)[number]

/** Whom an alert is about: a host, a group of hosts, or the server itself. */
export type AlertSubject = Schemas['AlertSubject']

/** A host that an alert is about, as it was when it was seen last. */
export type AlertHost = Extract<AlertSubject, { host: unknown }>['host']

/** One episode of a rule and a host, with the fields that the dashboard reads. */
export type Alert = Pick<
  Schemas['Alert'],
  | 'id'
  | 'rule'
  | 'rule_name'
  | 'note'
  | 'when'
  | 'subject'
  | 'object'
  | 'group'
  | 'server_id'
  | 'severity'
  | 'state'
  | 'since'
  | 'opened_at'
  | 'ended_at'
  | 'reason'
  | 'value'
  | 'limit'
  | 'counted'
  | 'stale'
  | 'flapping'
  | 'held_by'
  | 'ack'
>

const ALERT_HOST: Shape<AlertHost> = {
  server_id: isText,
  ip: isText,
  hostname: isText,
  country_code: isText,
  city: isText,
}

const isPairs: Check<string[][]> = (value): value is string[][] =>
  Array.isArray(value) && value.every((pair) => isListOfTexts(pair) && pair.length === 2)

const isSubject: Check<AlertSubject> = (value): value is AlertSubject =>
  value === 'server' ||
  (isObject(value) && (matches(ALERT_HOST, value.host) || isPairs(value.group)))

const isHold: Check<Alert['held_by']> = (value): value is Alert['held_by'] =>
  value === undefined ||
  value === null ||
  isText(value) ||
  (isObject(value) && (isText(value.mute) || isText(value.alert)))

export const ALERT: Shape<Alert> = {
  id: isText,
  rule: isText,
  rule_name: orAbsent(isText),
  note: orAbsent(isText),
  when: orAbsent(isText),
  subject: orAbsent(isSubject),
  object: orAbsent(isText),
  group: orAbsent(isPairs),
  server_id: orNull(isText),
  severity: oneOf(SEVERITIES),
  state: oneOf(['pending', 'firing', 'resolved']),
  since: orAbsent(isTime),
  opened_at: isTime,
  ended_at: orNull(isTime),
  reason: orAbsent(orNull(isText)) as Check<Alert['reason']>,
  value: orAbsent(orNull(isNumber)),
  limit: orAbsent(orNull(isNumber)),
  counted: orAbsent(orNull(shaped({ hosts: isNumber, of: isNumber }))),
  stale: orAbsent(isBoolean),
  flapping: orAbsent(isBoolean),
  held_by: isHold,
  ack: orNull(shaped({ by: isText, at: isTime, note: isText })),
}

/** A page of a list, the newest first; `next` is where the next page begins. */
export interface AlertPage {
  alerts: Alert[]
  next: string | null
}

const isAlertPage: Check<AlertPage> = shaped<AlertPage>({
  alerts: listOf(ALERT),
  next: orNull(isText),
})

/** When nobody is told of the alerts of some hosts. */
export type Mute = Pick<
  Schemas['Mute'],
  'id' | 'where' | 'rules' | 'from' | 'until' | 'weekly' | 'reason' | 'created_by'
>

/** A mute that is to be made. */
export type NewMute = Schemas['NewMute']

const MUTE: Shape<Mute> = {
  id: isText,
  where: isText,
  rules: isListOfTexts,
  from: isTime,
  until: isTime,
  weekly: orNull(isObject) as Check<Mute['weekly']>,
  reason: isText,
  created_by: isText,
}

export const DELIVERY_STATES = [
  'dead',
  'waiting',
  'sending',
  'asked',
  'sent',
  'folded',
  'dismissed',
] as const
/** What has become of a message. */
export type DeliveryState = (typeof DELIVERY_STATES)[number]

/** A message about alerts to one channel. */
export type Delivery = Pick<
  Schemas['Delivery'],
  | 'id'
  | 'channel'
  | 'alerts'
  | 'state'
  | 'created_at'
  | 'next_at'
  | 'settled_at'
  | 'tries'
  | 'error'
>

const DELIVERY: Shape<Delivery> = {
  id: isText,
  channel: isText,
  alerts: isListOfTexts,
  state: oneOf(DELIVERY_STATES),
  created_at: isTime,
  next_at: orNull(isTime),
  settled_at: orNull(isTime),
  tries: isNumber,
  error: orNull(isText),
}

/** A page of messages, the newest first. */
export interface DeliveryPage {
  deliveries: Delivery[]
  next: string | null
}

/** A rule as it is written: what is watched, whom it is told, how often. */
export type RuleForm = Schemas['NewAlertRule']

/** A rule as the API shows it: all of the form, and what the API knows besides. */
export type Rule = RuleForm &
  Pick<Schemas['AlertRule'], 'id' | 'version' | 'enabled' | 'where' | 'channels' | 'warnings'>

export const CONDITIONS = [
  'down',
  'late',
  'service',
  'load',
  'metric',
  'many_down',
  'clock',
  'reboot',
  'conflict',
] as const satisfies RuleForm['when'][]
/** What a rule looks at. */
export type RuleCondition = (typeof CONDITIONS)[number]

const FAULT = { field: isText, message: isText }

/** What the page relies on; the API has checked the rest of a rule that it has stored. */
const isRule: Check<Rule> = (value): value is Rule =>
  matches(
    {
      id: isText,
      version: isNumber,
      name: isText,
      enabled: isBoolean,
      severity: oneOf(SEVERITIES),
      when: oneOf(CONDITIONS),
      where: isText,
      channels: isListOfTexts,
      warnings: listOf(FAULT),
    },
    value,
  )

const isRules: Check<Rule[]> = (value): value is Rule[] =>
  Array.isArray(value) && value.every(isRule)

/** What a rule would say of the fleet now. */
export type RuleTest = Pick<Schemas['RuleTest'], 'hosts' | 'would_fire' | 'warnings'>

const RULE_TEST: Shape<RuleTest> = {
  hosts: isNumber,
  would_fire: listOf({ subject: isSubject, object: isText, value: orNull(isNumber) }),
  warnings: listOf(FAULT),
}

/** Where messages go. Of a secret that is set, `settings` has `{set: true}`. */
export type Channel = Omit<
  Pick<
    Schemas['Channel'],
    'id' | 'version' | 'name' | 'kind' | 'enabled' | 'min_severity' | 'quiet' | 'state'
  >,
  never
> & { settings: Record<string, unknown> }

/** A channel as it is written. */
export type ChannelForm = Omit<Schemas['NewChannel'], 'settings'> & {
  settings: Record<string, unknown>
}

const CHANNEL: Shape<Channel> = {
  id: isText,
  version: isNumber,
  name: isText,
  kind: isText,
  enabled: isBoolean,
  min_severity: oneOf(SEVERITIES),
  quiet: orNull(shaped({ from: isText, to: isText, zone: isText })),
  state: oneOf(['well', 'failing', 'closed']),
  settings: isObject,
}

/** What came of a message to try a channel. */
export type ChannelTest = Pick<Schemas['ChannelTest'], 'ok' | 'class' | 'status' | 'remarks'>

const CHANNEL_TEST: Shape<ChannelTest> = {
  ok: isBoolean,
  class: orNull(isText),
  status: orNull(isNumber),
  remarks: isListOfTexts,
}

/** How long a channel may take to be tried, in milliseconds. */
const TEST_DEADLINE_MS = 70_000

/** Which alerts are asked for; several words with commas. */
export interface AlertFilter {
  state?: string
  severity?: string
  /** A host's address or `server_id`. */
  ip?: string
  limit?: number
  after?: string
}

/** Alerts of the whole fleet: not for users with a scope. */
export interface AlertsApi {
  alerts(filter: AlertFilter): Promise<AlertPage>
  /** Takes an alert on: it is told no more until it is over. */
  acknowledge(id: string, note: string): Promise<Alert>
  /** Gives back what somebody has taken on. */
  giveBack(id: string): Promise<void>

  mutes(): Promise<Mute[]>
  makeMute(mute: NewMute): Promise<Mute>
  endMute(id: string): Promise<void>

  deliveries(filter: { state?: string; limit?: number; after?: string }): Promise<DeliveryPage>
  retryDelivery(id: string): Promise<Delivery>
  dismissDelivery(id: string): Promise<void>

  rules(): Promise<Rule[]>
  /** Makes a rule, or replaces the version of `of` as a whole. */
  saveRule(form: RuleForm, of: Rule | null): Promise<Rule>
  deleteRule(id: string): Promise<void>
  /** What the rule would say now; nothing is kept and nobody is told. */
  tryRule(form: RuleForm): Promise<RuleTest>

  channels(): Promise<Channel[]>
  /** Makes a channel, or replaces the version of `of` as a whole. */
  saveChannel(form: ChannelForm, of: Channel | null): Promise<Channel>
  deleteChannel(id: string): Promise<void>
  /** Sends a message by the channel. */
  tryChannel(id: string): Promise<ChannelTest>
}

export function alertsApi({ send, get, call, order }: Requests): AlertsApi {
  /** Makes what has no version yet, or replaces a version and no other one. */
  async function save<T>(
    list: string,
    form: unknown,
    of: { id: string; version: number } | null,
    isExpected: Check<T>,
  ): Promise<T> {
    if (of === null) return call('POST', list, form, isExpected)
    const { headers, ...init } = withJson('PUT', form)
    const response = await send(`${list}/${encodeURIComponent(of.id)}`, {
      ...init,
      headers: { ...headers, 'If-Match': `"${of.version}"` },
    })
    return read(response, isExpected)
  }

  const at = (list: string, id: string, rest = '') => `${list}/${encodeURIComponent(id)}${rest}`

  return {
    alerts: (filter) => get(`alerts${queryOf({ ...filter })}`, isAlertPage),
    acknowledge: (id, note) =>
      call('POST', at('alerts', id, '/ack'), note === '' ? {} : { note }, shaped(ALERT)),
    giveBack: (id) => order('DELETE', at('alerts', id, '/ack')),

    mutes: () => get('mutes', listOf(MUTE)),
    makeMute: (mute) => call('POST', 'mutes', mute, shaped(MUTE)),
    endMute: (id) => order('DELETE', at('mutes', id)),

    deliveries: (filter) =>
      get(
        `deliveries${queryOf(filter)}`,
        shaped<DeliveryPage>({ deliveries: listOf(DELIVERY), next: orNull(isText) }),
      ),
    retryDelivery: (id) =>
      call('POST', at('deliveries', id, '/retry'), undefined, shaped(DELIVERY)),
    dismissDelivery: (id) => order('DELETE', at('deliveries', id)),

    rules: () => get('alert-rules', isRules),
    saveRule: (form, of) => save('alert-rules', form, of, isRule),
    deleteRule: (id) => order('DELETE', at('alert-rules', id)),
    tryRule: (form) => call('POST', 'alert-rules/test', form, shaped(RULE_TEST)),

    channels: () => get('channels', listOf(CHANNEL)),
    saveChannel: (form, of) => save('channels', form, of, shaped(CHANNEL)),
    deleteChannel: (id) => order('DELETE', at('channels', id)),
    async tryChannel(id) {
      const response = await send(at('channels', id, '/test'), {
        method: 'POST',
        deadlineMs: TEST_DEADLINE_MS,
      })
      return read(response, shaped(CHANNEL_TEST))
    },
  }
}
