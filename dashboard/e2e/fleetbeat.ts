/**
 * The real `fleetbeat-server` for a test file, with the embedded store, a folder and a
 * port.
 */

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from '@playwright/test'
import type { Page } from '@playwright/test'

const BINARY = join(
  process.env.FLEETBEAT_BIN_DIR ?? fileURLToPath(new URL('../../target/debug', import.meta.url)),
  'fleetbeat-server',
)
const START_DEADLINE_MS = 20_000
const STOP_DEADLINE_MS = 10_000
const AGENT_API_KEY = randomBytes(24).toString('hex')

export const ADMIN = { username: 'admin', password: 'correct horse battery' }
export const READONLY = { username: 'rita', password: 'looks but never touches' }
/** A user name and the user's password. */
type Credentials = typeof ADMIN

/** A body of the wire contract, from protocol/golden. */
export function golden(name: string): Record<string, unknown> {
  const file = new URL(`../../protocol/golden/${name}`, import.meta.url)
  return JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>
}

/** Logs out by the menu of the account. */
export async function logOut(page: Page) {
  await page.getByRole('button', { name: 'Account' }).click()
  await page.getByRole('menuitem', { name: 'Log out' }).click()
}

/** Runs the server for all tests of the calling file; with further lines of server.toml. */
export function useFleetbeat(settings: readonly string[] = []): Fleetbeat {
  const fleetbeat = new Fleetbeat(settings)
  test.beforeAll(async () => {
    await fleetbeat.create()
    await fleetbeat.start()
  })
  test.afterAll(() => fleetbeat.remove())
  return fleetbeat
}

/** A server that a test file can start, stop and talk to as an agent or a user. */
export class Fleetbeat {
  private folder = ''
  private port = 0
  private process: ChildProcess | null = null
  private readonly tokens = new Map<string, string>()

  constructor(private readonly settings: readonly string[] = []) {}

  get url() {
    return `http://127.0.0.1:${this.port}`
  }

  async create() {
    if (!existsSync(BINARY))
      throw new Error(`${BINARY} is missing: build it, or set FLEETBEAT_BIN_DIR`)
    this.folder = await mkdtemp(join(tmpdir(), 'fleetbeat-e2e-'))
  }

  /** The first start takes any free port, later ones the same. */
  async start() {
    const config = [
      `listen = "127.0.0.1:${this.port}"`,
      '[storage]',
      'backend = "embedded"',
      `path = ${JSON.stringify(join(this.folder, 'data'))}`,
      ...this.settings,
    ]
    await writeFile(this.configFile, config.join('\n'))
    const child = spawn(BINARY, ['-c', this.configFile, 'run'], {
      env: this.env,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    this.process = child
    this.port = await listeningPort(child)
  }

  async stop() {
    const child = this.process
    this.process = null
    if (child?.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGTERM')
    try {
      await within(STOP_DEADLINE_MS, gone, () => 'the server did not stop after SIGTERM')
    } finally {
      // The signal does nothing to a process that has ended.
      child.kill('SIGKILL')
    }
  }

  async remove() {
    await this.stop()
    if (this.folder !== '') await rm(this.folder, { recursive: true, force: true })
  }

  /** What an agent would send. */
  async heartbeat(body: Record<string, unknown>) {
    await this.postAsAgent('/heartbeat', body)
  }

  async heartbeats(bodies: Record<string, unknown>[]) {
    await this.postAsAgent('/heartbeats', bodies)
  }

  /**
   * One token for all tests of the file, because a user may log in a few times a minute
   * only.
   */
  async token({ username, password }: Credentials): Promise<string> {
    const known = this.tokens.get(username)
    if (known !== undefined) return known
    const response = await fetch(`${this.url}/token`, {
      method: 'POST',
      body: new URLSearchParams({ username, password }),
    })
    expect(response.status).toBe(200)
    const { access_token: token } = (await response.json()) as { access_token: string }
    this.tokens.set(username, token)
    return token
  }

  /** The record as the API gives it. */
  async server(ip: string): Promise<Record<string, unknown>> {
    const headers = { Authorization: `Bearer ${await this.token(ADMIN)}` }
    const response = await fetch(`${this.url}/server/${encodeURIComponent(ip)}`, { headers })
    expect(response.status).toBe(200)
    return (await response.json()) as Record<string, unknown>
  }

  async addUser({ username, password }: Credentials, role: string) {
    await this.command(['user', 'add', username, '--role', role, '--password-stdin'], password)
  }

  /** A new password ends all of the user's tokens. */
  async changePassword(username: string, password: string) {
    await this.command(['user', 'passwd', username, '--password-stdin'], password)
    this.tokens.delete(username)
  }

  /** Opens the dashboard with a token, without the login form. */
  async open(page: Page, user: Credentials) {
    const token = await this.token(user)
    await page.goto(this.url)
    await page.evaluate((value) => localStorage.setItem('fleetbeat.token', value), token)
    await page.reload()
  }

  private get configFile() {
    return join(this.folder, 'server.toml')
  }

  private get env() {
    return {
      PATH: process.env.PATH,
      AGENT_API_KEY,
      SECRET_KEY: 'a secret for tests that is long enough',
      FLEETBEAT_ADMIN_PASSWORD: ADMIN.password,
    }
  }

  private async postAsAgent(path: string, body: unknown) {
    const response = await fetch(this.url + path, {
      method: 'POST',
      headers: { 'X-API-Key': AGENT_API_KEY, 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    })
    expect(response.status, await response.text()).toBe(200)
  }

  private async command(args: string[], stdin: string) {
    const child = spawn(BINARY, ['-c', this.configFile, ...args], {
      env: this.env,
      stdio: ['pipe', 'ignore', 'pipe'],
    })
    let stderr = ''
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
    child.stdin.end(`${stdin}\n`)
    const code = await new Promise((resolve) => child.once('close', resolve))
    expect(code, stderr).toBe(0)
  }
}

/** Waits for the line that names the port. */
async function listeningPort(child: ChildProcess): Promise<number> {
  let log = ''
  const port = new Promise<number>((resolve, reject) => {
    child.stderr?.on('data', (chunk: Buffer) => {
      log += chunk.toString()
      const match = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(log)
      if (match !== null) resolve(Number(match[1]))
    })
    child.once('error', reject)
    child.once('exit', (code) =>
      reject(new Error(`the server ended with ${String(code)}:\n${log}`)),
    )
  })
  return within(START_DEADLINE_MS, port, () => `the server does not listen:\n${log}`)
}

async function within<T>(
  deadlineMs: number,
  promise: Promise<T>,
  message: () => string,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(message())), deadlineMs)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}
