/**
 * The table's columns, and in which order the table shows servers.
 */

import { FLAGS } from '../api/wire'
import type { Flag, Server } from '../api/wire'

/** A column of the table. */
export interface Column {
  key: string
  label: string
  /** The value that the column sorts by; null goes last in either direction. */
  value: (server: Server) => string | number | null
  /** What the column says, for its tooltip, where the label alone does not tell. */
  meaning?: string
  /** Whether the first click on the header brings the greatest value to the top. */
  greatestFirst: boolean
}

/** The column by which the table is sorted, and the direction. */
export interface Sort {
  key: string
  descending: boolean
}

const LABEL = 'A label of yours, by which apps filter /servers'

/** What each flag does, for its tooltip. */
export const FLAG_MEANINGS: Record<Flag, string> = {
  gaming: LABEL,
  streaming: LABEL,
  paid: LABEL,
  enabled: 'Off: /servers no longer lists the host for apps',
  static: 'On: the host is never deleted, however long it is down',
}

export const COLUMNS: readonly Column[] = [
  // Down comes first, because users look for hosts that are down.
  {
    key: 'status',
    label: 'Status',
    value: (server) => (server.status === 'down' ? 0 : 1),
    greatestFirst: false,
  },
  { key: 'host', label: 'Host', value: (server) => server.hostname, greatestFirst: false },
  { key: 'place', label: 'Place', value: placeOf, greatestFirst: false },
  { key: 'services', label: 'Services', value: inactiveServices, greatestFirst: true },
  { key: 'cpu', label: 'CPU', value: (server) => server.load.cpu, greatestFirst: true },
  { key: 'ram', label: 'RAM', value: (server) => server.load.ram, greatestFirst: true },
  { key: 'net', label: 'Net', value: (server) => server.load.net, greatestFirst: true },
  {
    key: 'heartbeat',
    label: 'Heartbeat',
    value: (server) => Date.parse(server.last_heartbeat),
    greatestFirst: false,
  },
  ...FLAGS.map((flag) => ({
    key: flag,
    label: flagLabel(flag),
    meaning: FLAG_MEANINGS[flag],
    value: (server: Server) => Number(server[flag]),
    greatestFirst: true,
  })),
]

export const DEFAULT_SORT: Sort = { key: 'status', descending: false }

export function flagLabel(flag: Flag): string {
  return flag.charAt(0).toUpperCase() + flag.slice(1)
}

/** The place of a host, as far as the place is known, for example "Munich, Germany". */
export function placeOf(server: Server): string {
  return [server.city, server.country].filter((part) => part !== '').join(', ')
}

function inactiveServices(server: Server): number {
  return server.services.filter((service) => !service.active).length
}

/**
 * The sort after a click on a column's header. The first click gives the column's own
 * order, the next click the reverse.
 */
export function sortAfterClick(sort: Sort, column: Column): Sort {
  return sort.key === column.key
    ? { key: sort.key, descending: !sort.descending }
    : { key: column.key, descending: column.greatestFirst }
}

// Sorts "vpn-2" before "vpn-10". One collator serves all, because making a collator is
// slow.
const collator = new Intl.Collator('en', { numeric: true })

/** A sorted copy. Servers with equal values are in the order of their names. */
export function sortServers(servers: readonly Server[], sort: Sort): Server[] {
  const column = COLUMNS.find(({ key }) => key === sort.key)
  if (column === undefined) return [...servers]
  const direction = sort.descending ? -1 : 1
  return servers
    .map((server) => ({ server, value: column.value(server) }))
    .sort((a, b) => {
      const order =
        a.value === null || b.value === null
          ? Number(a.value === null) - Number(b.value === null)
          : direction * compare(a.value, b.value)
      return order || collator.compare(a.server.hostname, b.server.hostname)
    })
    .map(({ server }) => server)
}

function compare(a: string | number, b: string | number): number {
  return typeof a === 'string' && typeof b === 'string'
    ? collator.compare(a, b)
    : Number(a) - Number(b)
}
