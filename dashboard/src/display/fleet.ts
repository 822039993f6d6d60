/** The fleet's columns, and how the parts of a host are called. */

import { FLAGS } from '../api/wire'
import type { Flag, LoadReason, Server } from '../api/wire'
import type { Tone } from '../components/ui/tone'
import { t } from '../i18n'
import type { MessageKey } from '../i18n'
import { clientsOf } from '../selector/host'
import type { Column, Sort } from './table'

/** The name and the meaning of each flag. */
const FLAG_TEXTS: Record<Flag, { label: MessageKey; meaning: MessageKey }> = {
  gaming: { label: 'fleet.flagGaming', meaning: 'fleet.flagLabel' },
  streaming: { label: 'fleet.flagStreaming', meaning: 'fleet.flagLabel' },
  paid: { label: 'fleet.flagPaid', meaning: 'fleet.flagLabel' },
  enabled: { label: 'fleet.flagEnabled', meaning: 'fleet.flagMeaningEnabled' },
  static: { label: 'fleet.flagStatic', meaning: 'fleet.flagMeaningStatic' },
}

export function flagLabel(flag: Flag): string {
  return t(FLAG_TEXTS[flag].label)
}

/** What the flag does, for its tooltip. */
export function flagMeaning(flag: Flag): string {
  return t(FLAG_TEXTS[flag].meaning)
}

const REASONS: Record<LoadReason, MessageKey> = {
  cpu: 'fleet.reasonCpu',
  network: 'fleet.reasonNetwork',
  clients: 'fleet.reasonClients',
  conntrack: 'fleet.reasonConntrack',
  ram: 'fleet.reasonRam',
}

/** Of what the most is used. */
export function reasonLabel(reason: LoadReason): string {
  return t(REASONS[reason])
}

/** How a host is, the most urgent first: these are the classes of the summary, too. */
export const CONDITIONS = ['down', 'maintenance', 'drain', 'active'] as const
/** How a host is. */
export type Condition = (typeof CONDITIONS)[number]

export const CONDITION_TONES: Record<Condition, Tone> = {
  down: 'bad',
  maintenance: 'info',
  drain: 'warn',
  active: 'good',
}

/** A host under maintenance may be down: people work on it. */
export function conditionOf({ status, state }: Server): Condition {
  if (state.mode === 'maintenance') return 'maintenance'
  if (status === 'down') return 'down'
  return state.mode === 'drain' ? 'drain' : 'active'
}

/** The place of a host, as far as the place is known, for example "Munich, Germany". */
export function placeOf(server: Server): string {
  return [server.city, server.country].filter((part) => part !== '').join(', ')
}

/** What people call the host. */
export function nameOf(server: Server): string {
  return server.hostname || server.ip
}

function inactiveServices(server: Server): number {
  return server.services.filter((service) => !service.active).length
}

function showTags(server: Server): string {
  return Object.entries({ ...server.agent_tags, ...server.tags })
    .map(([key, value]) => (value === '' ? key : `${key}=${value}`))
    .sort()
    .join(' ')
}

export const FLEET_COLUMNS: readonly Column<Server>[] = [
  {
    key: 'status',
    label: () => t('fleet.columnStatus'),
    // What is most urgent comes first, because users look for it.
    value: (server) => CONDITIONS.indexOf(conditionOf(server)),
    exported: conditionOf,
    width: 104,
  },
  {
    key: 'host',
    label: () => t('fleet.columnHost'),
    value: (server) => server.hostname,
    width: 150,
    grow: 1.6,
    isRowHeader: true,
  },
  {
    key: 'ip',
    label: () => t('fleet.columnIp'),
    value: (server) => server.ip,
    width: 140,
    isExtra: true,
  },
  {
    key: 'place',
    label: () => t('fleet.columnPlace'),
    value: placeOf,
    width: 120,
    grow: 1,
  },
  {
    key: 'services',
    label: () => t('fleet.columnServices'),
    value: inactiveServices,
    exported: (server) =>
      server.services.map(({ name, active }) => (active ? name : `${name} (off)`)).join(' '),
    greatestFirst: true,
    width: 160,
    grow: 1.2,
  },
  {
    key: 'load',
    label: () => t('fleet.columnLoad'),
    value: (server) => server.load_percent,
    greatestFirst: true,
    width: 104,
    grow: 0.5,
  },
  ...(['cpu', 'ram', 'net'] as const).map((key) => ({
    key,
    label: () => t(`fleet.column${capital(key)}`),
    value: (server: Server) => server.load[key],
    greatestFirst: true,
    width: 72,
    grow: 0.4,
  })),
  {
    key: 'clients',
    label: () => t('fleet.columnClients'),
    value: clientsOf,
    greatestFirst: true,
    width: 80,
    isExtra: true,
  },
  {
    key: 'heartbeat',
    label: () => t('fleet.columnHeartbeat'),
    value: (server) => Date.parse(server.last_heartbeat),
    exported: (server) => server.last_heartbeat,
    width: 90,
    grow: 0.3,
  },
  ...FLAGS.map((flag) => ({
    key: flag,
    label: () => flagLabel(flag),
    meaning: () => flagMeaning(flag),
    value: (server: Server) => Number(server[flag]),
    greatestFirst: true,
    width: flag === 'streaming' ? 90 : 74,
  })),
  {
    key: 'tags',
    label: () => t('fleet.columnTags'),
    value: showTags,
    width: 160,
    grow: 1,
    isExtra: true,
  },
  {
    key: 'version',
    label: () => t('fleet.columnVersion'),
    value: (server) => server.agent_version,
    width: 80,
    isExtra: true,
  },
  {
    key: 'weight',
    label: () => t('fleet.columnWeight'),
    value: (server) => server.weight,
    greatestFirst: true,
    width: 80,
    isExtra: true,
  },
]

export const DEFAULT_SORTS: readonly Sort[] = [{ key: 'status', descending: false }]

function capital(key: 'cpu' | 'ram' | 'net'): 'Cpu' | 'Ram' | 'Net' {
  return ({ cpu: 'Cpu', ram: 'Ram', net: 'Net' } as const)[key]
}
