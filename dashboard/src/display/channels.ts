/** The kinds of channels, and what each needs to be told: as docs/alerts.md has them. */

import type { Channel } from '../api/alerts'
import { isObject } from '../api/shape'

/** A field of a channel's settings. */
export interface ChannelField {
  name: string
  /** `list`: texts, one in a line. */
  kind: 'text' | 'secret' | 'whole' | 'list' | 'long' | 'choice'
  required?: boolean
  /** What counts if nothing is given, or what it may look like. */
  example?: string
  /** Of a choice: the values, the usual one first. */
  values?: readonly string[]
}

const URL_SECRET: ChannelField = { name: 'url', kind: 'secret', required: true }
const SIGNED: readonly ChannelField[] = [
  { name: 'secret', kind: 'secret' },
  { name: 'authorization', kind: 'secret' },
]
const CONTENT_TYPES = ['application/json', 'text/plain; charset=utf-8']

/** The formats of a webhook, and what each needs beside the format. */
const FORMATS: Readonly<Record<string, readonly ChannelField[]>> = {
  fleetbeat: [URL_SECRET, ...SIGNED],
  slack: [URL_SECRET],
  discord: [URL_SECRET],
  teams: [URL_SECRET],
  matrix: [
    URL_SECRET,
    { name: 'room', kind: 'text', required: true, example: '!abc:example.org' },
    { name: 'token', kind: 'secret', required: true },
  ],
  pagerduty: [
    { name: 'token', kind: 'secret', required: true },
    { name: 'url', kind: 'secret', example: 'https://events.pagerduty.com' },
  ],
  gotify: [URL_SECRET, { name: 'token', kind: 'secret', required: true }],
  alertmanager: [URL_SECRET, ...SIGNED],
  template: [
    URL_SECRET,
    { name: 'template', kind: 'long', required: true },
    { name: 'content_type', kind: 'choice', values: CONTENT_TYPES },
    ...SIGNED,
  ],
}

const KINDS: Readonly<Record<string, readonly ChannelField[]>> = {
  telegram: [
    { name: 'token', kind: 'secret', required: true, example: '123456:ABC-def' },
    { name: 'chat_id', kind: 'text', required: true, example: '-100123' },
    { name: 'topic_id', kind: 'whole' },
    { name: 'url', kind: 'text', example: 'https://api.telegram.org' },
  ],
  email: [{ name: 'to', kind: 'list', required: true, example: 'ops@example.com' }],
  ntfy: [
    { name: 'topic', kind: 'text', required: true },
    { name: 'url', kind: 'text', example: 'https://ntfy.sh' },
    { name: 'token', kind: 'secret' },
  ],
  alertmanager: [
    { name: 'url', kind: 'text', required: true, example: 'https://alertmanager.example.com' },
    { name: 'authorization', kind: 'secret' },
  ],
}

/** The kinds, by the names of the API. */
export const CHANNEL_KINDS: readonly string[] = [...Object.keys(KINDS), 'webhook']

/** The fields of a kind; those of a webhook depend on its format. */
export function fieldsOf(kind: string, format: string): readonly ChannelField[] {
  if (kind !== 'webhook') return KINDS[kind] ?? []
  const choice: ChannelField = { name: 'format', kind: 'choice', values: Object.keys(FORMATS) }
  return [choice, ...(FORMATS[format] ?? FORMATS.fleetbeat ?? [])]
}

/** The texts of a form, by the fields' names. */
export type ChannelTexts = Record<string, string>

/** The settings of a channel as texts of a form; secrets are empty. */
export function textsOf(settings: Record<string, unknown>): ChannelTexts {
  const texts: ChannelTexts = {}
  for (const [name, value] of Object.entries(settings)) {
    if (Array.isArray(value)) texts[name] = value.join('\n')
    else if (typeof value === 'string' || typeof value === 'number') texts[name] = String(value)
  }
  return texts
}

/** Whether the channel has a secret of this name, which the API never shows. */
export function isSet(settings: Record<string, unknown>, name: string): boolean {
  const value = settings[name]
  return isObject(value) && value.set === true
}

/** The settings that a form's texts say; what is empty is left out. */
export function settingsOf(kind: string, texts: ChannelTexts): Record<string, unknown> {
  const fields = fieldsOf(kind, texts.format ?? '')
  const settings: Record<string, unknown> = {}
  for (const { name, kind: fieldKind, values } of fields) {
    const text = (texts[name] ?? values?.[0] ?? '').trim()
    if (text === '') continue
    if (fieldKind === 'whole') settings[name] = Number(text)
    else settings[name] = fieldKind === 'list' ? linesOf(text) : text
  }
  return settings
}

function linesOf(text: string): string[] {
  return text
    .split(/[\n,]/)
    .map((line) => line.trim())
    .filter((line) => line !== '')
}

/** Where a channel's messages go, as far as that may be shown. */
export function targetOf({ settings }: Channel): string {
  const parts = ['to', 'chat_id', 'topic', 'room', 'format', 'url'].flatMap((name) => {
    const value = settings[name]
    if (isObject(value)) return typeof value.host === 'string' ? [value.host] : []
    if (Array.isArray(value)) return [value.join(', ')]
    return typeof value === 'string' ? [value] : []
  })
  return parts.slice(0, 2).join(' · ')
}
