/** What events say to people. */

import type { FleetEvent } from '../api/events'
import type { Tone } from '../components/ui/tone'
import { showNumber, t } from '../i18n'
import { visible } from './text'
import { shortTime, span } from './time'

/** The kinds, by their groups: a test compares them with openapi.json. */
export const EVENT_KINDS = [
  'host.new',
  'host.down',
  'host.up',
  'host.deleted',
  'host.rebooted',
  'host.moved',
  'host.reinstalled',
  'host.readmitted',
  'host.conflict',
  'host.clock',
  'service.inactive',
  'service.active',
  'fleet.mass_down',
  'fleet.recovered',
  'flag.changed',
  'tag.changed',
  'state.changed',
  'settings.changed',
  'bulk.changed',
  'alert.firing',
  'alert.resolved',
  'alert.acknowledged',
  'alert.unacknowledged',
  'alert.flapping',
  'alert.settled',
  'rule.created',
  'rule.changed',
  'rule.deleted',
  'mute.created',
  'mute.ended',
  'mute.deleted',
  'channel.created',
  'channel.changed',
  'channel.deleted',
  'channel.failing',
  'channel.back',
  'delivery.dead',
  'delivery.retried',
  'delivery.dismissed',
  'server.started',
  'server.stopped',
  'store.away',
  'store.back',
  'login.ok',
  'login.failed',
  'user.created',
  'user.deleted',
  'user.changed',
  'user.password',
  'user.logged_out',
  'user.totp',
  'user.refused',
  'user.scope',
  'token.created',
  'token.revoked',
  'token.refused',
  'key.enrolled',
  'key.rotated',
  'key.rotation_asked',
  'key.revoked',
  'code.created',
  'code.deleted',
  'code.refused',
] as const
/** What an event is. */
export type EventKind = (typeof EVENT_KINDS)[number]

/** The groups of kinds, in their order: `host`, `service` … */
export const EVENT_GROUPS = [...new Set(EVENT_KINDS.map(groupOf))]
/** What stands before the dot. */
type Group<K extends string> = K extends `${infer G}.${string}` ? G : never

/** The group of a kind. */
export function groupOf(kind: EventKind): Group<EventKind> {
  return kind.slice(0, kind.indexOf('.')) as Group<EventKind>
}

/** The kind with an underscore in place of the dot, as the texts have it. */
type KeyOf<K extends string> = K extends `${infer Group}.${infer Name}` ? `${Group}_${Name}` : never

function isKnown(kind: string): kind is EventKind {
  return (EVENT_KINDS as readonly string[]).includes(kind)
}

/** What has happened, in a few words. */
export function kindLabel(kind: string): string {
  if (!isKnown(kind)) return visible(kind)
  return t(`events.${kind.replace('.', '_') as KeyOf<EventKind>}`)
}

/** What a group of kinds is called. */
export function groupLabel(group: (typeof EVENT_GROUPS)[number]): string {
  return t(`events.group_${group}`)
}

const BAD: readonly string[] = [
  'host.down',
  'host.conflict',
  'service.inactive',
  'fleet.mass_down',
  'store.away',
  'channel.failing',
  'delivery.dead',
  'alert.firing',
]
const GOOD: readonly string[] = [
  'host.up',
  'service.active',
  'fleet.recovered',
  'store.back',
  'channel.back',
  'alert.resolved',
]
const WARN: readonly string[] = [
  'host.deleted',
  'host.rebooted',
  'host.clock',
  'login.failed',
  'user.refused',
  'token.refused',
  'code.refused',
  'key.revoked',
]

export function kindTone(kind: string): Tone {
  if (BAD.includes(kind)) return 'bad'
  if (GOOD.includes(kind)) return 'good'
  return WARN.includes(kind) ? 'warn' : 'neutral'
}

/** What is worth telling without its name. */
const PLAIN: readonly string[] = [
  'service',
  'name',
  'where',
  'select',
  'reason',
  'address',
  'error',
  'note',
  'change',
  'by',
  'role',
  'scope',
]
/** What names the subject of a change. */
const SUBJECTS: readonly string[] = ['flag', 'tag', 'setting']
/** Ids, which say nothing to people. */
const IDS: readonly string[] = [
  'alert',
  'rule',
  'mute',
  'channel',
  'delivery',
  'id',
  'bulk_id',
  'token',
]
const TIMES: readonly string[] = ['last_heartbeat', 'until', 'expires_at']

/** What else there is to tell, in a line: "gaming: false → true". */
export function detailOf({ data }: FleetEvent): string {
  const parts: string[] = []
  const subject = SUBJECTS.map((name) => data[name]).find((value) => value !== undefined)
  if ('from' in data && 'to' in data) {
    const change = `${valueOf(data.from)} → ${valueOf(data.to)}`
    parts.push(subject === undefined ? change : `${valueOf(subject)}: ${change}`)
  }
  for (const [name, value] of Object.entries(data)) {
    if (['from', 'to', ...SUBJECTS, ...IDS].includes(name) || value === '' || value === null)
      continue
    if (PLAIN.includes(name)) parts.push(valueOf(value))
    else
      parts.push(
        `${visible(name).replace(/_s$/, '').replaceAll('_', ' ')} ${namedValue(name, value)}`,
      )
  }
  return parts.join(' · ')
}

function namedValue(name: string, value: unknown): string {
  if (TIMES.includes(name) && typeof value === 'string') return shortTime(Date.parse(value))
  if (name.endsWith('_s') && typeof value === 'number') return span(Math.abs(value) * 1000)
  return valueOf(value)
}

function valueOf(value: unknown): string {
  if (value === null || value === undefined) return '–'
  if (typeof value === 'number') return showNumber(value, { maximumFractionDigits: 2 })
  return visible(typeof value === 'string' ? value : JSON.stringify(value))
}

/** Who did it; empty where nobody did. */
export function actorOf({ actor }: FleetEvent): string {
  if (actor === null) return ''
  const name = visible(actor.user ?? actor.program ?? '')
  return actor.address === undefined ? name : `${name} (${visible(actor.address)})`
}

/** What people call the host that it is about; empty without one. */
export function hostOf({ hostname, ip, server_id: id }: FleetEvent): string {
  return visible(hostname ?? '') || (ip ?? id ?? '')
}
