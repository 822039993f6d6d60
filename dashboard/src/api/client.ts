/**
 * The client of Fleetbeat's HTTP API. No other file fetches. Whatever goes wrong with a
 * request, the caller gets an `ApiError`.
 */

import { ACCOUNT, PROBLEM, SERVER, TOKEN, TRAFFIC, listOf, matches, shaped } from './wire'
import type { Account, Check, Flags, HostTraffic, Problem, Server } from './wire'

/** How long a request may take. Without a deadline, one that hangs would end polling. */
const DEADLINE_MS = 10_000

/** A request that failed. The message is a sentence for the user. */
export class ApiError extends Error {
  constructor(
    message: string,
    /** The HTTP status; null without an answer, or when the answer is not understood. */
    readonly status: number | null,
    /** The pause that the header Retry-After asks for; null without the header. */
    readonly retryAfterSeconds: number | null = null,
    /** Whether the password is right, and a code is needed, too. */
    readonly needsCode = false,
  ) {
    super(message)
  }
}

/** An answer to `GET /servers`, with the name that the API gives the list. */
export interface ServerList {
  servers: Server[]
  etag: string | null
}

/** The requests that the dashboard sends. Each may fail with an `ApiError`. */
export interface Api {
  /** Trades a password, and a code where the user has a second factor, for a bearer token. */
  login(username: string, password: string, code: string | null): Promise<string>
  account(): Promise<Account>
  /** All servers; null when nothing has changed since the list that came with `etag`. */
  servers(etag: string | null): Promise<ServerList | null>
  /** What each host has used of its present billing cycle. */
  traffic(): Promise<HostTraffic[]>
  /** Sets some flags of a server and gives the server's updated record. */
  setFlags(serverId: string, flags: Partial<Flags>): Promise<Server>
}

/**
 * All paths are relative to the page, which may be below a path of a proxy, such as
 * `https://example.com/fleet/`.
 *
 * `token` gives the bearer token of the session, or null when nobody is logged in.
 */
export function createApi(token: () => string | null, fetch: typeof window.fetch): Api {
  async function send(
    path: string,
    init: Omit<RequestInit, 'headers'> & { headers?: Record<string, string> } = {},
  ) {
    const bearer = token()
    const headers =
      bearer === null ? init.headers : { ...init.headers, Authorization: `Bearer ${bearer}` }

    let response: Response
    try {
      response = await fetch(path, {
        cache: 'no-store',
        signal: AbortSignal.timeout(DEADLINE_MS),
        ...init,
        headers,
      })
    } catch (error) {
      throw unreachable(error)
    }

    if (!response.ok && response.status !== 304) throw await refused(response)
    return response
  }

  return {
    async login(username, password, code) {
      const response = await send('token', {
        method: 'POST',
        body: new URLSearchParams({ username, password, ...(code === null ? {} : { code }) }),
      })
      return (await read(response, shaped(TOKEN))).access_token
    },

    async account() {
      return read(await send('me'), shaped(ACCOUNT))
    },

    async servers(etag) {
      const response = await send('servers?all_servers=true', {
        headers: etag === null ? {} : { 'If-None-Match': etag },
      })
      if (response.status === 304) return null
      const servers = await read(response, listOf(SERVER))
      return { servers, etag: response.headers.get('ETag') }
    },

    async traffic() {
      return (await read(await send('traffic'), shaped(TRAFFIC))).servers
    },

    async setFlags(serverId, flags) {
      const response = await send(`server/${encodeURIComponent(serverId)}/config`, {
        method: 'PATCH',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(flags),
      })
      return read(response, shaped(SERVER))
    },
  }
}

async function read<T>(response: Response, isExpected: Check<T>): Promise<T> {
  let text: string
  try {
    text = await response.text()
  } catch (error) {
    throw unreachable(error)
  }

  const body = parse(text)
  if (!isExpected(body)) {
    // Most likely the server was upgraded while this page was open.
    throw new ApiError('Fleetbeat’s answer could not be understood. Reload this page.', null)
  }
  return body
}

function unreachable(cause: unknown): ApiError {
  const timedOut = cause instanceof DOMException && cause.name === 'TimeoutError'
  return new ApiError(
    timedOut
      ? `Fleetbeat did not answer within ${DEADLINE_MS / 1000} s.`
      : 'Fleetbeat cannot be reached.',
    null,
  )
}

async function refused(response: Response): Promise<ApiError> {
  // No problem body comes from a proxy with error pages of its own, or if the connection
  // breaks half-way.
  const body = parse(await response.text().catch(() => ''))
  const problem = matches(PROBLEM, body) ? body : null
  const reason = problem === null ? `HTTP status ${response.status}.` : explain(problem)
  const message = response.status >= 500 ? `Fleetbeat has a problem: ${reason}` : reason
  const retryAfter = seconds(response.headers.get('Retry-After'))
  return new ApiError(message, response.status, retryAfter, problem?.totp === 'required')
}

function explain(problem: Problem): string {
  const fields = (problem.errors ?? []).map(({ field, message }) => `${field} ${message}`)
  const reason = (fields.length > 0 ? fields.join('; ') : problem.detail || problem.title).replace(
    /\.$/,
    '',
  )
  // The request id leads operators to the line in the log that tells more.
  return problem.status >= 500 ? `${reason} (request ${problem.request_id}).` : `${reason}.`
}

function seconds(header: string | null): number | null {
  return header !== null && /^\d+$/.test(header) ? Number(header) : null
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
