/** What the table shows and in which order: columns, filter and sort. */

import { FLAGS } from '../api/wire'
import type { Flag, Server } from '../api/wire'

export interface Column {
  key: string
  label: string
  /** What the column is sorted by; null goes last in either direction. */
  value: (server: Server) => string | number | null
  /** Whether the first click brings the greatest on top. */
  greatestFirst: boolean
}

export interface Sort {
  key: string
  descending: boolean
}

export const COLUMNS: readonly Column[] = [
  // Down first: that is what one looks for.
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
    value: (server: Server) => Number(server[flag]),
    greatestFirst: true,
  })),
]

export const DEFAULT_SORT: Sort = { key: 'status', descending: false }

export function flagLabel(flag: Flag): string {
  return flag.charAt(0).toUpperCase() + flag.slice(1)
}

/** "Munich, Germany", as far as it is known. */
export function placeOf(server: Server): string {
  return [server.city, server.country].filter((part) => part !== '').join(', ')
}

function inactiveServices(server: Server): number {
  return server.services.filter((service) => !service.active).length
}

/** The sort after a click on a column's header: the column's own order first, the reverse next. */
export function sortAfterClick(sort: Sort, column: Column): Sort {
  return sort.key === column.key
    ? { key: sort.key, descending: !sort.descending }
    : { key: column.key, descending: column.greatestFirst }
}

// "vpn-2" before "vpn-10". One collator for all: making one is what costs.
const collator = new Intl.Collator('en', { numeric: true })

/** Sorted anew; equal ones by name. */
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

/** What the filter searches in, lower case. */
export function searchText(server: Server): string {
  const { hostname, ip, city, region, country, countryCode, status, services } = server
  return [
    hostname,
    ip,
    city,
    region,
    country,
    countryCode,
    status,
    ...services.map(({ name }) => name),
  ]
    .join('\n')
    .toLowerCase()
}

/** The servers whose search text has every word of the query; `texts` are theirs, in the same order. */
export function filterServers(
  servers: readonly Server[],
  texts: readonly string[],
  query: string,
): readonly Server[] {
  const words = query
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '')
  if (words.length === 0) return servers
  return servers.filter((_, index) => words.every((word) => texts[index]?.includes(word)))
}
