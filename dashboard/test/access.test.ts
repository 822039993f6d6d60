import { describe, expect, test } from 'vitest'
import openapi from '../../server/src/api/openapi.json'
import { NEEDS, refusalOf } from '../src/access'
import type { Action } from '../src/access'
import { ADMIN } from './support'

/** What the document says of a route. */
interface Operation {
  security?: { bearer?: string[] }[]
  'x-over-all-hosts'?: boolean
}

const PATHS = openapi.paths as unknown as Partial<Record<string, Record<string, Operation>>>

test.each(Object.entries(NEEDS))('%s needs what its route needs', (_, need) => {
  const [method = '', path = ''] = need.route.split(' ')
  const operation = PATHS[path]?.[method.toLowerCase()]
  expect(operation?.security?.[0]?.bearer?.[0]).toBe(need.role)
  expect(operation?.['x-over-all-hosts'] ?? false).toBe(need.wholeFleet)
})

describe('a refusal', () => {
  const scoped = { ...ADMIN, scope: 'paid' }

  test.each<[string, typeof ADMIN | null, Action, string | null]>([
    ['an unknown role', null, 'hosts.change', 'Your role is not known yet.'],
    [
      'a lower role',
      { ...ADMIN, role: 'readonly' },
      'hosts.change',
      'Your role is readonly: this needs the role admin.',
    ],
    ['the role itself', ADMIN, 'hosts.change', null],
    ['a higher role', { ...ADMIN, role: 'superadmin' }, 'hosts.change', null],
    ['a scope, about hosts', scoped, 'hosts.change', null],
    [
      'a scope, about the fleet',
      scoped,
      'alerts.see',
      'You see some hosts only, and this is about the whole fleet.',
    ],
  ])('for %s', (_, account, action, expected) => {
    expect(refusalOf(account, action)).toBe(expected)
  })
})
