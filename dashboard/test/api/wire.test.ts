import { describe, expect, test } from 'vitest'
import account from '../../../protocol/golden/account.json'
import problem from '../../../protocol/golden/problem.json'
import server from '../../../protocol/golden/server.json'
import token from '../../../protocol/golden/token.json'
import {
  ACCOUNT,
  FIELD_ERROR,
  FLAGS,
  LOAD,
  PROBLEM,
  SERVER,
  SERVICE,
  TOKEN,
  isListOf,
  matches,
} from '../../src/api/wire'
import type { Account, Service, Shape } from '../../src/api/wire'

const GOLDEN: { name: string; body: object | undefined; shape: Shape<Record<string, unknown>> }[] =
  [
    { name: 'account.json', body: account, shape: ACCOUNT },
    { name: 'problem.json', body: problem, shape: PROBLEM },
    { name: 'problem.json: errors', body: problem.errors[0], shape: FIELD_ERROR },
    { name: 'server.json', body: server, shape: SERVER },
    { name: 'server.json: load', body: server.load, shape: LOAD },
    { name: 'server.json: services', body: server.services[0], shape: SERVICE },
    { name: 'token.json', body: token, shape: TOKEN },
  ]

describe.each(GOLDEN)('the golden body $name', ({ body, shape }) => {
  test('is what the type says', () => {
    expect(matches(shape, body)).toBe(true)
  })

  test('has the fields of the type, no more and no fewer', () => {
    expect(Object.keys(shape).sort()).toEqual(Object.keys(body ?? {}).sort())
  })

  test.each(Object.keys(shape))('is refused when %s is of another type', (field) => {
    expect(matches(shape, { ...body, [field]: Symbol('another type') })).toBe(false)
  })
})

test('a shape that does not check a field, or takes another kind, does not compile', () => {
  const isText = ACCOUNT.username
  // @ts-expect-error: the role is not checked.
  const incomplete: Shape<Account> = { username: isText }
  // @ts-expect-error: `active` is not a text.
  const confused: Shape<Service> = { name: isText, active: isText }
  expect([incomplete, confused]).toHaveLength(2)
})

test('a flag is a field of the server record', () => {
  for (const flag of FLAGS) expect(server).toHaveProperty(flag)
})

test('a field that is not known yet is no error', () => {
  expect(matches(SERVER, { ...server, revision: 7 })).toBe(true)
})

test('a problem without field errors is a problem', () => {
  expect(matches(PROBLEM, { ...problem, errors: undefined })).toBe(true)
})

test.each([
  ['a missing field', { ...server, hostname: undefined }],
  ['an unknown status', { ...server, status: 'asleep' }],
  ['a time that is none', { ...server, last_heartbeat: 'yesterday' }],
  ['a load that is text', { ...server, load: { ...server.load, cpu: '23' } }],
  ['a service without a name', { ...server, services: [{ active: true }] }],
  ['an array', [server]],
  ['null', null],
])('a server record with %s is refused', (_, body) => {
  expect(matches(SERVER, body)).toBe(false)
})

test('a list is refused for one bad element', () => {
  expect(isListOf(SERVER, [server, server])).toBe(true)
  expect(isListOf(SERVER, [server, {}])).toBe(false)
  expect(isListOf(SERVER, server)).toBe(false)
})
