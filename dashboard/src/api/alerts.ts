/** Requests about alerts. */

import { queryOf } from './requests'
import type { Requests } from './requests'
import type { components } from './schema'
import { isText, isTime, listOf, oneOf, orNull, shaped } from './shape'
import type { Check, Shape } from './shape'

/** One episode of a rule and a host, with the fields that the dashboard reads. */
export type Alert = Pick<
  components['schemas']['Alert'],
  'id' | 'rule' | 'server_id' | 'severity' | 'state' | 'opened_at' | 'ended_at'
>

const ALERT: Shape<Alert> = {
  id: isText,
  rule: isText,
  server_id: orNull(isText),
  severity: oneOf(['info', 'warning', 'critical']),
  state: oneOf(['pending', 'firing', 'resolved']),
  opened_at: isTime,
  ended_at: orNull(isTime),
}

/** A page of alerts, the newest first; `next` is where the next page begins. */
export interface AlertPage {
  alerts: Alert[]
  next: string | null
}

const isAlertPage: Check<AlertPage> = shaped<AlertPage>({
  alerts: listOf(ALERT),
  next: orNull(isText),
})

/** Alerts of the whole fleet: not for users with a scope. */
export interface AlertsApi {
  alerts(filter: { state?: string; limit?: number; after?: string }): Promise<AlertPage>
}

export function alertsApi({ get }: Requests): AlertsApi {
  return {
    alerts: (filter) => get(`alerts${queryOf(filter)}`, isAlertPage),
  }
}
