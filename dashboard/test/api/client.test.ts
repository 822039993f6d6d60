import { describe, expect, test, vi } from 'vitest'
import account from '../../../protocol/golden/account.json'
import problem from '../../../protocol/golden/problem.json'
import server from '../../../protocol/golden/server.json'
import token from '../../../protocol/golden/token.json'
import { ApiError, createApi } from '../../src/api/client'

/** The client with a token, against a network that gives one answer. */
function clientFor(answer: Response | Error) {
  const fetch = vi.fn<typeof window.fetch>(async () => {
    if (answer instanceof Error) throw answer
    return answer
  })
  const sent = () => {
    const [path, init] = fetch.mock.calls[0] ?? []
    return {
      path,
      method: init?.method ?? 'GET',
      headers: new Headers(init?.headers),
      body: init?.body,
    }
  }
  return { api: createApi(() => 'a.b.c', fetch), sent }
}

function json(body: unknown, init: ResponseInit = {}) {
  return new Response(JSON.stringify(body), init)
}

async function failureOf(promise: Promise<unknown>): Promise<ApiError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof ApiError)) throw new Error('expected an ApiError')
  return error
}

describe('requests', () => {
  test('a login is the OAuth2 password form, and gives the token', async () => {
    const fetch = vi.fn<typeof window.fetch>(async () => json(token))
    const api = createApi(() => null, fetch)
    expect(await api.login('ada', 'p&ss=word ü', null)).toBe('aaa.bbb.ccc')
    const request = new Request('http://localhost/token', fetch.mock.calls[0]?.[1])
    expect(request.method).toBe('POST')
    expect(request.headers.get('Content-Type')).toContain('application/x-www-form-urlencoded')
    expect(request.headers.has('Authorization')).toBe(false)
    expect(await request.text()).toBe('username=ada&password=p%26ss%3Dword+%C3%BC')
  })

  test('a login that lacks a code says so', async () => {
    const status = 401
    const body = { ...problem, status, totp: 'required' }
    const { api, sent } = clientFor(json(body, { status }))
    expect((await failureOf(api.login('ada', 'password', null))).needsCode).toBe(true)
    expect(sent().path).toBe('token')
  })

  test('the token goes with every other request', async () => {
    const { api, sent } = clientFor(json(account))
    const admin = { username: 'admin', role: 'superadmin', totp: true, scope: null }
    expect(await api.account()).toEqual(admin)
    expect(sent().path).toBe('me')
    expect(sent().headers.get('Authorization')).toBe('Bearer a.b.c')
  })

  test('the list is of all servers, those that are down or not enabled too', async () => {
    const { api, sent } = clientFor(json([server], { headers: { ETag: '"7"' } }))
    expect(await api.servers(null)).toEqual({ servers: [server], etag: '"7"' })
    expect(sent().path).toBe('servers?all_servers=true')
    expect(sent().headers.has('If-None-Match')).toBe(false)
  })

  test('a list that did not change is not sent again', async () => {
    const { api, sent } = clientFor(new Response(null, { status: 304 }))
    expect(await api.servers('"7"')).toBeNull()
    expect(sent().headers.get('If-None-Match')).toBe('"7"')
  })

  test('what has changed is asked for since the last answer', async () => {
    const delta = { changed: [server], removed: ['1.2.3.9'], cursor: 'c-2' }
    const { api, sent } = clientFor(json(delta))
    expect(await api.changes('a b')).toEqual(delta)
    expect(sent().path).toBe('servers/changes?since=a%20b')
    const first = clientFor(json({ reset: true, cursor: 'c-1' }))
    expect(await first.api.changes(null)).toEqual({ reset: true, cursor: 'c-1' })
    expect(first.sent().path).toBe('servers/changes')
  })

  test.each([
    ['an answer without a cursor', { changed: [], removed: [] }],
    ['a host that lacks a field', { changed: [{ ...server, ip: 7 }], removed: [], cursor: 'c' }],
    ['a reset that is none', { reset: false, cursor: 'c' }],
  ])('%s is not taken for changes', async (_, body) => {
    const { api } = clientFor(json(body))
    expect((await failureOf(api.changes(null))).message).toContain('could not be understood')
  })

  test('a change of many hosts says how many are meant, and learns of others', async () => {
    const set = { tags: { rack: 'a1' } }
    const matched = { hosts: 3, first: [{ ip: '1.2.3.4', hostname: 'vpn-de-01' }] }
    const { api, sent } = clientFor(json({ ...problem, status: 409, matched }, { status: 409 }))
    const failure = await failureOf(api.setMany('paid', set, 2))
    expect(failure.matched).toEqual(matched)
    expect(sent()).toMatchObject({
      path: 'servers/bulk',
      method: 'POST',
      body: '{"select":"paid","set":{"tags":{"rack":"a1"}},"expect":2}',
    })
  })

  test('an IPv6 address is percent-encoded in a path', async () => {
    const { api, sent } = clientFor(json({ ...server, ip: '2001:db8::7', gaming: true }))
    const saved = await api.setFlags('2001:db8::7', { gaming: true })
    expect(saved.gaming).toBe(true)
    expect(sent()).toMatchObject({
      path: 'server/2001%3Adb8%3A%3A7/config',
      method: 'PATCH',
      body: '{"gaming":true}',
    })
    expect(sent().headers.get('Content-Type')).toBe('application/json')
  })
})

describe('failures', () => {
  test('401 keeps its status', async () => {
    const { api } = clientFor(json({ ...problem, status: 401, errors: undefined }, { status: 401 }))
    expect((await failureOf(api.account())).status).toBe(401)
  })

  test('422 tells which field broke which rule', async () => {
    const { api } = clientFor(json(problem, { status: 422 }))
    const failure = await failureOf(api.setFlags('1.2.3.4', {}))
    expect(failure.status).toBe(422)
    expect(failure.message).toBe('load.cpu must be from 0 to 100, not 101.')
  })

  test('429 tells how long to wait', async () => {
    const { api } = clientFor(json(problem, { status: 429, headers: { 'Retry-After': '37' } }))
    expect(await failureOf(api.login('ada', 'x', null))).toMatchObject({
      status: 429,
      retryAfterSeconds: 37,
    })
  })

  test('a Retry-After that is a date counts as none', async () => {
    const headers = { 'Retry-After': 'Wed, 21 Oct 2026 07:28:00 GMT' }
    const { api } = clientFor(json(problem, { status: 429, headers }))
    expect(await failureOf(api.login('ada', 'x', null))).toMatchObject({
      status: 429,
      retryAfterSeconds: null,
    })
  })

  test('500 gives the request id to look up in the log', async () => {
    const body = {
      status: 500,
      title: 'Internal Server Error',
      detail: 'The storage is away.',
      request_id: '4f2a90c1',
    }
    const { api } = clientFor(json(body, { status: 500 }))
    const failure = await failureOf(api.servers(null))
    expect(failure.status).toBe(500)
    expect(failure.message).toBe('Fleetbeat has a problem: The storage is away (request 4f2a90c1).')
  })

  test('an error page of a proxy is told by its status', async () => {
    const { api } = clientFor(new Response('<h1>502 Bad Gateway</h1>', { status: 502 }))
    expect((await failureOf(api.servers(null))).message).toBe(
      'Fleetbeat has a problem: HTTP status 502.',
    )
  })

  test('a network error has no status', async () => {
    const { api } = clientFor(new TypeError('Failed to fetch'))
    expect(await failureOf(api.servers(null))).toMatchObject({
      status: null,
      message: 'Fleetbeat cannot be reached.',
    })
  })

  test('no answer in time is told apart from no connection', async () => {
    const { api } = clientFor(new DOMException('signal timed out', 'TimeoutError'))
    expect((await failureOf(api.servers(null))).message).toBe(
      'Fleetbeat did not answer within 10 s.',
    )
  })

  test.each([
    ['no JSON', new Response('<html>')],
    ['other JSON', json({ servers: [] })],
    ['a record that lacks a field', json([{ ...server, status: undefined }])],
  ])('an answer of %s is not taken for a list', async (_, response) => {
    const { api } = clientFor(response)
    expect((await failureOf(api.servers(null))).message).toContain('could not be understood')
  })
})
