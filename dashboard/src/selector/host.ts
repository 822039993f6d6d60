/** A server of the API as selectors see it. */

import type { Server } from '../api/wire'
import type { Host, Value } from './evaluate'
import type { Field } from './fields'

const MISSING: Value = { kind: 'missing' }

/** The values of the server's fields, as the server's own program gives them. */
export function hostOf(server: Server): Host {
  return (field) => valueOf(server, field)
}

function valueOf(server: Server, field: Field): Value {
  switch (field.key) {
    case 'ip':
      return { kind: 'address', address: server.ip }
    case 'server_id':
    case 'hostname':
    case 'region':
    case 'city':
    case 'status':
    case 'agent_version':
      return ofTexts(server[field.key])
    case 'country':
      return ofTexts(server.countryCode, server.country)
    case 'enabled':
    case 'static':
    case 'gaming':
    case 'streaming':
    case 'paid':
      return { kind: 'switch', isOn: server[field.key] }
    case 'draining':
      return { kind: 'switch', isOn: server.state.mode === 'drain' }
    case 'maintenance':
      return { kind: 'switch', isOn: server.state.mode === 'maintenance' }
    case 'load.cpu':
      return ofNumber(server.load.cpu)
    case 'load.ram':
      return ofNumber(server.load.ram)
    case 'load.net':
      return ofNumber(server.load.net)
    case 'last_heartbeat':
      return { kind: 'time', ms: Date.parse(server.last_heartbeat) }
    case 'service': {
      const service = server.services.find(({ name }) => name === field.name)
      return service === undefined ? MISSING : { kind: 'switch', isOn: service.active }
    }
    case 'metric':
      return Object.hasOwn(server.metrics, field.name)
        ? ofNumber(server.metrics[field.name] ?? null)
        : MISSING
    case 'tag': {
      const tags = [server.tags, server.agent_tags]
      const found = tags.find((source) => Object.hasOwn(source, field.name))
      const value = found?.[field.name]
      return value === undefined ? MISSING : { kind: 'text', texts: [value] }
    }
    case 'load':
      return ofNumber(server.load_percent)
    case 'clients':
      return ofNumber(clientsOf(server))
  }
}

/** How many clients the host has, of all services; null if it does not tell. */
export function clientsOf(server: Server): number | null {
  const isCount = (name: string): boolean =>
    name === 'vpn_clients' || name.startsWith('vpn_clients{')
  const counts = Object.entries(server.metrics).filter(([name]) => isCount(name))
  return counts.length === 0 ? null : counts.reduce((sum, [, count]) => sum + count, 0)
}

/** Texts of a record in which an empty text says that there is none. */
function ofTexts(...texts: (string | null)[]): Value {
  const known = texts.filter((text): text is string => text !== null && text !== '')
  return known.length === 0 ? MISSING : { kind: 'text', texts: known }
}

function ofNumber(number: number | null): Value {
  return number === null ? MISSING : { kind: 'number', number }
}
