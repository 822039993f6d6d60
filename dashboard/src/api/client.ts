/**
 * The client of Fleetbeat's HTTP API: the requests of all subjects put together. Each
 * subject has a file beside this one.
 */

import { accountApi } from './account'
import type { AccountApi } from './account'
import { alertsApi } from './alerts'
import type { AlertsApi } from './alerts'
import { eventsApi } from './events'
import type { EventsApi } from './events'
import { fleetApi } from './fleet'
import type { FleetApi } from './fleet'
import { hostApi } from './host'
import type { HostApi } from './host'
import { createRequests } from './requests'

export { ApiError } from './requests'
export type { ServerList } from './fleet'

/** The requests that the dashboard sends. Each may fail with an `ApiError`. */
export interface Api extends AccountApi, AlertsApi, EventsApi, FleetApi, HostApi {}

/** See `createRequests`. */
export function createApi(token: () => string | null, fetch: typeof window.fetch): Api {
  const requests = createRequests(token, fetch)
  return {
    ...accountApi(requests),
    ...alertsApi(requests),
    ...eventsApi(requests),
    ...fleetApi(requests),
    ...hostApi(requests),
  }
}
