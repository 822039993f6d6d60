/** What alerts, rules and channels say to people, and which belong together. */

import { SEVERITIES } from '../api/alerts'
import type { Alert, AlertSubject, Channel, DeliveryState, Severity } from '../api/alerts'
import type { Tone } from '../components/ui/tone'
import { showNumber, t } from '../i18n'
import type { MessageKey } from '../i18n'
import { showName, showText } from '../selector/text'
import { showPercent } from './table'
import { visible } from './text'
import { span } from './time'

/** The rule of the alert that says that the server hears nobody. */
const DEAF_RULE = 'server_deaf'

export const SEVERITY_TONES: Record<Severity, Tone> = {
  critical: 'bad',
  warning: 'warn',
  info: 'info',
}

export const DELIVERY_TONES: Record<DeliveryState, Tone> = {
  dead: 'bad',
  waiting: 'warn',
  sending: 'info',
  asked: 'info',
  sent: 'good',
  folded: 'neutral',
  dismissed: 'neutral',
}

export const CHANNEL_TONES: Record<Channel['state'], Tone> = {
  well: 'good',
  failing: 'warn',
  closed: 'bad',
}

/** What hosts have in common: names and values. */
type Pairs = readonly (readonly string[])[]

/** Alerts of a rule that are told together. */
export interface AlertGroup {
  key: string
  rule: string
  name: string
  severity: Severity
  /** What its hosts have in common. */
  pairs: Pairs
  note: string
  /** The newest first. */
  alerts: Alert[]
}

/** The groups of the alerts: the worst first, and of those the newest. */
export function groupAlerts(alerts: readonly Alert[]): AlertGroup[] {
  const groups = new Map<string, AlertGroup>()
  for (const alert of [...alerts].sort(byAge)) {
    const pairs = alert.group ?? []
    const key = JSON.stringify([alert.rule, pairs])
    const group = groups.get(key)
    if (group === undefined) {
      const { rule, severity, note = '' } = alert
      groups.set(key, { key, rule, name: ruleName(alert), severity, pairs, note, alerts: [alert] })
    } else {
      group.alerts.push(alert)
      if (rankOf(alert.severity) < rankOf(group.severity)) group.severity = alert.severity
    }
  }
  // The order of before decides between those that are equally bad.
  return [...groups.values()].sort((a, b) => rankOf(a.severity) - rankOf(b.severity))
}

function byAge(a: Alert, b: Alert): number {
  return Date.parse(b.opened_at) - Date.parse(a.opened_at)
}

function rankOf(severity: Severity): number {
  return SEVERITIES.indexOf(severity)
}

/** What people call the rule. */
export function ruleName({ rule, rule_name: name }: Alert): string {
  return name === undefined || name === '' ? rule : visible(name)
}

/** What people call whom it is about. */
export function subjectName(subject: AlertSubject | undefined): string {
  if (subject === undefined) return t('common.unknown')
  if (subject === 'server') return t('alerts.server')
  if ('host' in subject) return visible(subject.host.hostname) || subject.host.ip
  return subject.group.length === 0 ? t('alerts.fleet') : showPairs(subject.group)
}

/** What hosts have in common, for example "country DE". */
export function showPairs(pairs: Pairs): string {
  return pairs.map(([name = '', value = '']) => `${name} ${visible(value) || '–'}`).join(', ')
}

/** The value of an alert with its limit, for example "91.2 % (limit 90.0 %)". */
export function valueText({ when, object, value, limit, counted }: Alert): string {
  if (counted !== undefined && counted !== null) {
    return t('alerts.counted', { hosts: counted.hosts, of: counted.of })
  }
  if (value === undefined || value === null) return ''
  const shown = measured(value, when, object)
  return limit === undefined || limit === null
    ? shown
    : t('alerts.valueLimit', { value: shown, limit: measured(limit, when, object) })
}

/** A value in the unit of what a rule looks at. */
export function measured(value: number, when: string | undefined, object = ''): string {
  // For how long nothing was heard.
  if (when === 'late' || when === 'down') return span(value * 1000)
  if (when === 'load' || /_percent(\{|$)/.test(object)) return showPercent(value)
  return showNumber(value, { maximumFractionDigits: 2 })
}

/** A selector of the hosts that an alert is about. */
export function selectorOf({ subject }: Alert): string {
  if (subject === undefined || subject === 'server') return 'all'
  return 'host' in subject
    ? `server_id = ${showText(subject.host.server_id)}`
    : selectorOfPairs(subject.group)
}

/** A selector of the hosts that have these values. */
export function selectorOfPairs(pairs: Pairs): string {
  const terms = pairs.map(([name = '', value = '']) => `${fieldOf(name)} = ${showText(value)}`)
  return terms.length === 0 ? 'all' : terms.join(' and ')
}

function fieldOf(name: string): string {
  return name.startsWith('tag.') ? `tag.${showName(name.slice('tag.'.length))}` : name
}

/** The rules that a mute of these alerts is to name: none for all. */
export function rulesToMute(rule: string): string[] {
  // What is built in has no rule that could be named.
  return rule === DEAF_RULE ? [] : [rule]
}

const HOLDS: Readonly<Record<string, MessageKey>> = {
  mute: 'alerts.heldMute',
  alert: 'alerts.heldAlert',
  maintenance: 'alerts.heldMaintenance',
  silence: 'alerts.heldSilence',
}

/** Why nobody is told of it now; null where somebody is. */
export function holdText({ held_by: hold }: Alert): string | null {
  if (hold === undefined || hold === null) return null
  const word = typeof hold === 'string' ? hold : (Object.keys(hold)[0] ?? '')
  const key = HOLDS[word]
  return key === undefined ? t('common.unknown') : t(key)
}

const REASONS: Readonly<Record<string, MessageKey>> = {
  rule_deleted: 'alerts.endRuleDeleted',
  rule_disabled: 'alerts.endRuleDisabled',
  rule_changed: 'alerts.endRuleChanged',
  host_deleted: 'alerts.endHostDeleted',
  host_not_meant: 'alerts.endHostNotMeant',
  not_measured: 'alerts.endNotMeasured',
}

/** Why it has ended, where nothing recovered; null where it did. */
export function endText({ reason }: Alert): string | null {
  if (reason === undefined || reason === null) return null
  const key = REASONS[reason]
  return key === undefined ? visible(reason) : t(key)
}

/** How long it was so, or has been until now, in milliseconds. */
export function lastedMs(alert: Alert, now: number): number {
  const begin = Date.parse(alert.since ?? alert.opened_at)
  const end = alert.ended_at === null ? now : Date.parse(alert.ended_at)
  return Math.max(0, end - begin)
}
