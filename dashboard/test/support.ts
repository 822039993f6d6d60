import { vi } from 'vitest'
import { createMemoryHistory } from 'vue-router'
import goldenServer from '../../protocol/golden/server.json'
import type { Alert } from '../src/api/alerts'
import { ApiError } from '../src/api/client'
import type { Api } from '../src/api/client'
import { SERVER, matches } from '../src/api/wire'
import type { Account, HostTraffic, Server } from '../src/api/wire'
import { makeRouter } from '../src/router'

/** The golden record, with some fields changed. */
export function aServer(changes: Partial<Server> = {}): Server {
  const server: unknown = { ...goldenServer, ...changes }
  if (!matches(SERVER, server)) throw new Error('not a server record')
  return server
}

/** Traffic of the golden record's host, half of its quota, with some fields changed. */
export function someTraffic(changes: Partial<HostTraffic> = {}): HostTraffic {
  return {
    server_id: aServer().server_id,
    ip: '1.2.3.4',
    hostname: 'vpn-de-01',
    from: '2026-11-01T00:00:00Z',
    to: '2026-12-01T00:00:00Z',
    rx_bytes: 200e9,
    tx_bytes: 300e9,
    used_bytes: 500e9,
    count: 'sum',
    quota_bytes: 1e12,
    forecast_bytes: 900e9,
    over_quota: false,
    expires_on: null,
    days_left: null,
    known_from: '2026-11-01T00:00:00Z',
    complete: true,
    ...changes,
  }
}

/** A host that is down, as an alert, with some fields changed. */
export function anAlert(changes: Partial<Alert> = {}): Alert {
  return {
    id: 'alr-1',
    rule: 'rul-1',
    rule_name: 'Host down',
    note: '',
    when: 'down',
    subject: {
      host: {
        server_id: 'srv-1',
        ip: '1.2.3.4',
        hostname: 'vpn-de-01',
        country_code: 'DE',
        city: 'Munich',
      },
    },
    object: '',
    group: [],
    server_id: 'srv-1',
    severity: 'critical',
    state: 'firing',
    since: '2026-11-01T10:00:00Z',
    opened_at: '2026-11-01T10:00:00Z',
    ended_at: null,
    reason: null,
    value: null,
    limit: null,
    counted: null,
    stale: false,
    flapping: false,
    held_by: null,
    ack: null,
    ...changes,
  }
}

export interface Deferred<T> {
  promise: Promise<T>
  resolve: (value: T) => void
  reject: (error: unknown) => void
}

export function deferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void
  let reject!: (error: unknown) => void
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve
    reject = onReject
  })
  return { promise, resolve, reject }
}

export const ADMIN: Account = { username: 'ada', role: 'admin', totp: false, scope: null }
export const UNREACHABLE = new ApiError('Fleetbeat cannot be reached.', null)

/** An API with this fleet; tests replace single answers. */
export function anApi(servers: Server[] = [aServer()]) {
  return {
    login: vi.fn<Api['login']>(),
    account: vi.fn<Api['account']>(async () => ADMIN),
    // An API that never knows what has changed: each poll reads the list.
    changes: vi.fn<Api['changes']>(async () => ({ reset: true, cursor: 'c-1' })),
    servers: vi.fn<Api['servers']>(async () => ({ servers, etag: null })),
    traffic: vi.fn<Api['traffic']>(async () => []),
    setFlags: vi.fn<Api['setFlags']>(),
    alerts: vi.fn<Api['alerts']>(async () => ({ alerts: [], next: null })),
    acknowledge: vi.fn<Api['acknowledge']>(),
    giveBack: vi.fn<Api['giveBack']>(),
    mutes: vi.fn<Api['mutes']>(async () => []),
    makeMute: vi.fn<Api['makeMute']>(),
    endMute: vi.fn<Api['endMute']>(),
    deliveries: vi.fn<Api['deliveries']>(async () => ({ deliveries: [], next: null })),
    retryDelivery: vi.fn<Api['retryDelivery']>(),
    dismissDelivery: vi.fn<Api['dismissDelivery']>(),
    rules: vi.fn<Api['rules']>(async () => []),
    saveRule: vi.fn<Api['saveRule']>(),
    deleteRule: vi.fn<Api['deleteRule']>(),
    tryRule: vi.fn<Api['tryRule']>(),
    channels: vi.fn<Api['channels']>(async () => []),
    saveChannel: vi.fn<Api['saveChannel']>(),
    deleteChannel: vi.fn<Api['deleteChannel']>(),
    tryChannel: vi.fn<Api['tryChannel']>(),
    events: vi.fn<Api['events']>(async () => ({ events: [], cursor: '0', more: false })),
    history: vi.fn<Api['history']>(),
    uptime: vi.fn<Api['uptime']>(),
    hostTraffic: vi.fn<Api['hostTraffic']>(async () => null),
    setState: vi.fn<Api['setState']>(),
    setTags: vi.fn<Api['setTags']>(),
    setSettings: vi.fn<Api['setSettings']>(),
    deleteHost: vi.fn<Api['deleteHost']>(),
    matchedHosts: vi.fn<Api['matchedHosts']>(),
    setMany: vi.fn<Api['setMany']>(),
  }
}

/** An API whose calls a test can look at and answer. */
export type ApiForTest = ReturnType<typeof anApi>

/** A router at the fleet's page, with a history of its own. */
export async function aRouter(path = '/fleet') {
  const router = makeRouter(createMemoryHistory())
  await router.push(path)
  await router.isReady()
  return router
}

/** Hides or shows the tab, as the browser would. */
export function setHidden(hidden: boolean) {
  Object.defineProperty(document, 'hidden', { configurable: true, value: hidden })
  document.dispatchEvent(new Event('visibilitychange'))
}
