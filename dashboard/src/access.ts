/**
 * What a user may do. The page shows everything and disables what the user may not do,
 * with the reason. The server decides all the same.
 */

import { t } from './i18n'
import type { Account, Role } from './api/wire'

/** What the API asks of who does something. */
interface Need {
  /** The least role. */
  role: Role
  /** Whether it is about the whole fleet, and so not for users with a scope. */
  wholeFleet: boolean
  /** A route that needs the same: a test compares the two in openapi.json. */
  route: `${'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'} /${string}`
}

/** What there is to do, by a name for the code. */
export const NEEDS = {
  'agentKeys.change': {
    role: 'superadmin',
    wholeFleet: true,
    route: 'DELETE /agent-keys/{agent_id}',
  },
  'alerts.ack': { role: 'admin', wholeFleet: true, route: 'POST /alerts/{id}/ack' },
  'alerts.see': { role: 'readonly', wholeFleet: true, route: 'GET /alerts' },
  'channels.change': { role: 'superadmin', wholeFleet: true, route: 'POST /channels' },
  'channels.see': { role: 'admin', wholeFleet: true, route: 'GET /channels' },
  'codes.change': { role: 'superadmin', wholeFleet: true, route: 'POST /enrollment-codes' },
  'deliveries.retry': { role: 'admin', wholeFleet: true, route: 'POST /deliveries/{id}/retry' },
  'deliveries.see': { role: 'admin', wholeFleet: true, route: 'GET /deliveries' },
  'fleetHistory.see': { role: 'readonly', wholeFleet: true, route: 'GET /fleet/history' },
  'hosts.change': { role: 'admin', wholeFleet: false, route: 'PATCH /server/{ip}/config' },
  'hosts.delete': { role: 'superadmin', wholeFleet: false, route: 'DELETE /server/{ip}' },
  'mutes.change': { role: 'admin', wholeFleet: true, route: 'POST /mutes' },
  'rules.change': { role: 'admin', wholeFleet: true, route: 'POST /alert-rules' },
  'rules.see': { role: 'readonly', wholeFleet: true, route: 'GET /alert-rules' },
  'users.change': { role: 'superadmin', wholeFleet: true, route: 'POST /users' },
} as const satisfies Record<string, Need>

/** Something that a user may or may not do. */
export type Action = keyof typeof NEEDS

const RANKS: Record<Role, number> = { readonly: 0, admin: 1, superadmin: 2 }

/** Why the account may not do it, as a sentence; null if it may. */
export function refusalOf(account: Account | null, action: Action): string | null {
  if (account === null) return t('access.unknown')

  const { role, wholeFleet } = NEEDS[action]
  if (RANKS[account.role] < RANKS[role]) {
    return t('access.role', { role: account.role, needed: role })
  }
  return wholeFleet && account.scope !== null ? t('access.scope') : null
}
