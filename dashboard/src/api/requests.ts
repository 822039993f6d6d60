/**
 * How the dashboard asks the API. No other file fetches. Whatever goes wrong with a
 * request, the caller gets an `ApiError`.
 */

import { t } from '../i18n'
import { PROBLEM } from './wire'
import type { FieldError, MatchedHosts, Problem } from './wire'
import { matches } from './shape'
import type { Check } from './shape'

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
    /** What the API says of the request, where it says anything. */
    readonly problem: Problem | null = null,
  ) {
    super(message)
  }

  /** The fields of the request that break a rule, for forms. */
  get fieldErrors(): FieldError[] {
    return this.problem?.errors ?? []
  }

  /** For a change of many hosts: the hosts that are meant now. */
  get matched(): MatchedHosts | null {
    return this.problem?.matched ?? null
  }
}

/** What a request has besides its path. */
export interface Init extends Omit<RequestInit, 'headers'> {
  headers?: Record<string, string>
  /** How long it may take, in milliseconds. */
  deadlineMs?: number
}

/** The ways to ask. */
export interface Requests {
  /** Any request; the caller reads the answer. Takes 304 for an answer. */
  send: (path: string, init?: Init) => Promise<Response>
  /** A `GET` with an answer that has to pass the check. */
  get: <T>(path: string, isExpected: Check<T>) => Promise<T>
  /** A request with a body of JSON, and an answer that has to pass the check. */
  call: <T>(method: string, path: string, body: unknown, isExpected: Check<T>) => Promise<T>
  /** A request whose answer has nothing to read, with a body of JSON or none. */
  order: (method: string, path: string, body?: unknown) => Promise<void>
}

/**
 * All paths are relative to the page, which may be below a path of a proxy, such as
 * `https://example.com/fleet/`.
 *
 * `token` gives the bearer token of the session, or null when nobody is logged in.
 */
export function createRequests(token: () => string | null, fetch: typeof window.fetch): Requests {
  async function send(path: string, { deadlineMs = DEADLINE_MS, ...init }: Init = {}) {
    const bearer = token()
    const headers =
      bearer === null ? init.headers : { ...init.headers, Authorization: `Bearer ${bearer}` }

    let response: Response
    try {
      response = await fetch(path, {
        cache: 'no-store',
        signal: AbortSignal.timeout(deadlineMs),
        ...init,
        headers,
      })
    } catch (error) {
      throw unreachable(error, deadlineMs)
    }

    if (!response.ok && response.status !== 304) throw await refused(response)
    return response
  }

  return {
    send,

    async get(path, isExpected) {
      return read(await send(path), isExpected)
    },

    async call(method, path, body, isExpected) {
      return read(await send(path, withJson(method, body)), isExpected)
    },

    async order(method, path, body) {
      await send(path, body === undefined ? { method } : withJson(method, body))
    },
  }
}

/** A request with a body of JSON. */
export function withJson(method: string, body: unknown): Init {
  return {
    method,
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  }
}

/** The query of a path, of the values that are there: `?kind=a&limit=5`, or nothing. */
export function queryOf(values: Readonly<Record<string, string | number | null | undefined>>) {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(values)) {
    if (value !== null && value !== undefined && value !== '') query.set(name, String(value))
  }
  const text = query.toString()
  return text === '' ? '' : `?${text}`
}

/** The body of the answer, if it passes the check. */
export async function read<T>(response: Response, isExpected: Check<T>): Promise<T> {
  let text: string
  try {
    text = await response.text()
  } catch (error) {
    throw unreachable(error, DEADLINE_MS)
  }

  const body = parse(text)
  if (!isExpected(body)) {
    // Most likely the server was upgraded while this page was open.
    throw new ApiError(t('errors.misunderstood'), null)
  }
  return body
}

function unreachable(cause: unknown, deadlineMs: number): ApiError {
  const timedOut = cause instanceof DOMException && cause.name === 'TimeoutError'
  const message = timedOut
    ? t('errors.timeout', { seconds: deadlineMs / 1000 })
    : t('errors.unreachable')
  return new ApiError(message, null)
}

async function refused(response: Response): Promise<ApiError> {
  // No problem body comes from a proxy with error pages of its own, or if the connection
  // breaks half-way.
  const body = parse(await response.text().catch(() => ''))
  const problem = matches(PROBLEM, body) ? body : null
  const status = String(response.status)
  const reason = problem === null ? t('errors.status', { status }) : explain(problem)
  const message = response.status >= 500 ? t('errors.problem', { reason }) : reason
  const retryAfter = seconds(response.headers.get('Retry-After'))
  const needsCode = problem?.totp === 'required'
  return new ApiError(message, response.status, retryAfter, needsCode, problem)
}

function explain(problem: Problem): string {
  const fields = (problem.errors ?? []).map(({ field, message }) => `${field} ${message}`)
  const reason = (fields.length > 0 ? fields.join('; ') : problem.detail || problem.title).replace(
    /\.$/,
    '',
  )
  // The request id leads operators to the line in the log that tells more.
  const told =
    problem.status >= 500 ? t('errors.request', { reason, id: problem.request_id }) : reason
  return `${told}.`
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
