/** Rules as forms: what people type, and what the API is told. */

import type { Rule, RuleCondition, RuleForm, Severity } from '../api/alerts'
import { showNumber, t } from '../i18n'
import { visible } from './text'

/** A rule in a form: texts, as people type them. A number is one if a field is for one. */
export interface RuleDraft {
  name: string
  enabled: boolean
  severity: Severity
  when: RuleCondition
  after: string
  service: string
  load: 'cpu' | 'ram' | 'net' | 'load'
  metric: string
  /** `label=pattern`, one in a line. */
  labels: string
  side: 'above' | 'below'
  limit: string | number
  clear: string | number
  hosts: string | number
  percent: string | number
  within: string
  clearPercent: string | number
  for: string
  clearFor: string
  where: string
  /** With commas between. */
  groupBy: string
  groupWait: string
  groupInterval: string
  repeat: string
  channels: string[]
  escalateAfter: string
  escalateChannels: string[]
  note: string
}

/** The channels of a rule that tells every channel there is. */
export const ALL_CHANNELS = 'all'

/** The form of a rule, or of a new one. */
export function draftOf(rule: Rule | null): RuleDraft {
  const text = (value: string | number | null | undefined) => String(value ?? '')
  const { escalate } = rule ?? {}
  return {
    name: rule?.name ?? '',
    enabled: rule?.enabled ?? true,
    severity: rule?.severity ?? 'warning',
    when: rule?.when ?? 'down',
    after: text(rule?.after ?? '5m'),
    service: text(rule?.service),
    load: rule?.load ?? 'cpu',
    metric: text(rule?.metric),
    labels: Object.entries(rule?.labels ?? {})
      .map(([name, pattern]) => `${name}=${pattern}`)
      .join('\n'),
    side: rule?.below === undefined || rule.below === null ? 'above' : 'below',
    limit: text(rule?.above ?? rule?.below),
    clear: text(rule?.clear),
    hosts: text(rule?.hosts ?? 5),
    percent: text(rule?.percent ?? 30),
    within: text(rule?.within ?? '10m'),
    clearPercent: text(rule?.clear_percent),
    for: text(rule?.for ?? '0s'),
    clearFor: text(rule?.clear_for ?? '0s'),
    where: rule?.where ?? 'all',
    groupBy: (rule?.group_by ?? []).join(', '),
    groupWait: text(rule?.group_wait ?? '30s'),
    groupInterval: text(rule?.group_interval ?? '5m'),
    repeat: text(rule?.repeat),
    channels: [...(rule?.channels ?? [ALL_CHANNELS])],
    escalateAfter: text(escalate?.after),
    escalateChannels: [...(escalate?.channels ?? [])],
    note: rule?.note ?? '',
  }
}

/** Conditions that are told once, and so take no lengths of time. */
const ONCE: readonly RuleCondition[] = ['reboot', 'conflict', 'clock']

/** Whether the condition knows for how long it has been so. */
export function takesTime(when: RuleCondition): boolean {
  return !ONCE.includes(when)
}

/** What the API is told. */
export function formOf(draft: RuleDraft): RuleForm {
  return {
    name: draft.name.trim(),
    enabled: draft.enabled,
    severity: draft.severity,
    when: draft.when,
    ...conditionOf(draft),
    ...(takesTime(draft.when) ? { for: draft.for.trim(), clear_for: draft.clearFor.trim() } : {}),
    where: draft.where.trim() || 'all',
    group_by: partsOf(draft.groupBy),
    group_wait: draft.groupWait.trim(),
    group_interval: draft.groupInterval.trim(),
    repeat: draft.repeat.trim() || null,
    channels: draft.channels,
    escalate:
      draft.escalateAfter.trim() === ''
        ? null
        : { after: draft.escalateAfter.trim(), channels: draft.escalateChannels },
    note: draft.note,
  }
}

/** The members of the condition, which are not those of another one. */
function conditionOf(draft: RuleDraft): Partial<RuleForm> {
  switch (draft.when) {
    case 'late':
      return { after: draft.after.trim() }
    case 'service':
      return { service: draft.service.trim() || null }
    case 'load':
      return { load: draft.load, ...limitOf(draft) }
    case 'metric':
      return { metric: draft.metric.trim(), labels: labelsOf(draft.labels), ...limitOf(draft) }
    case 'many_down':
      return {
        hosts: numberOf(draft.hosts),
        percent: numberOf(draft.percent),
        within: draft.within.trim(),
        clear_percent: numberOf(draft.clearPercent),
      }
    default:
      return {}
  }
}

function limitOf({ side, limit, clear }: RuleDraft): Partial<RuleForm> {
  return { [side]: numberOf(limit), clear: numberOf(clear) }
}

function numberOf(text: string | number): number | null {
  return String(text).trim() === '' ? null : Number(text)
}

function partsOf(text: string, separator = ','): string[] {
  return text
    .split(separator)
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

function labelsOf(text: string): Record<string, string> {
  const pairs = partsOf(text, '\n').map((part) => {
    const [name = '', ...rest] = part.split('=')
    return [name.trim(), rest.join('=').trim()]
  })
  return Object.fromEntries(pairs) as Record<string, string>
}

/** What a rule looks at, in a few words: "CPU above 90 %". */
export function conditionText(rule: Rule): string {
  const name = t(`rules.when_${rule.when}`)
  switch (rule.when) {
    case 'late':
      return t('rules.textLate', { after: String(rule.after ?? '') })
    case 'service':
      return t('rules.textService', { service: visible(rule.service ?? '*') })
    case 'load':
      return `${t(`rules.load_${rule.load ?? 'load'}`)} ${limitText(rule, ' %')}`
    case 'metric':
      return `${visible(rule.metric ?? '')} ${limitText(rule, '')}`
    case 'many_down':
      return t('rules.textMany', { hosts: rule.hosts ?? 0, percent: rule.percent ?? 0 })
    default:
      return name
  }
}

function limitText({ above, below }: Rule, unit: string): string {
  const limit = above ?? below
  if (limit === null || limit === undefined) return ''
  return `${above === null || above === undefined ? '<' : '>'} ${showNumber(limit)}${unit}`
}
