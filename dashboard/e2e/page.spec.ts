import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from '@playwright/test'
import type { Page } from '@playwright/test'
import { ADMIN, golden, logOut, useFleetbeat } from './fleetbeat'

const fleetbeat = useFleetbeat()
const minimal = golden('heartbeat-minimal.json')

/** The browser's complaints, violations of the Content-Security-Policy included. */
function complaintsOf(page: Page): string[] {
  const complaints: string[] = []
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(String(error)))
  return complaints
}

function overflow(page: Page) {
  return page.evaluate(
    () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  )
}

test('a normal run gives the browser nothing to complain about', async ({ page }) => {
  const complaints = complaintsOf(page)
  const hosts = new Set<string>()
  page.on('request', (request) => hosts.add(new URL(request.url()).origin))
  await fleetbeat.heartbeat(minimal)
  await page.goto(fleetbeat.url)
  await page.getByLabel('User name').fill(ADMIN.username)
  await page.getByLabel('Password').fill(ADMIN.password)
  await page.getByRole('button', { name: 'Log in' }).click()
  const gaming = page.getByRole('switch', { name: 'Gaming: vpn-de-01' })
  await gaming.click()
  await expect(gaming).toBeChecked()
  await page.getByRole('columnheader', { name: 'CPU' }).getByRole('button').click()
  await page.getByLabel('Filter').fill('munich')
  await page.waitForResponse('**/servers/changes*')
  await logOut(page)
  await expect(page.getByRole('button', { name: 'Log in' })).toBeVisible()
  expect(complaints).toEqual([])
  expect([...hosts]).toEqual([fleetbeat.url])
})

test('the policy is in force: what is written into the page does not run', async ({ page }) => {
  const complaints = complaintsOf(page)
  await page.goto(fleetbeat.url)
  await page.evaluate(() => {
    const script = document.createElement('script')
    script.textContent = 'window.injected = true'
    document.body.append(script)
  })
  await expect.poll(() => complaints.join()).toContain('Content Security Policy')
  expect(await page.evaluate(() => 'injected' in window)).toBe(false)
})

test('names with markup are shown as text', async ({ page }) => {
  const hostname = '<img src=x onerror="window.injected = true">'
  await fleetbeat.heartbeat({
    ...minimal,
    ip: '1.2.3.9',
    hostname,
    services: [{ name: '<b>wg</b>', active: true }],
  })
  await fleetbeat.open(page, ADMIN)
  await expect(page.getByText(hostname)).toBeVisible()
  await expect(page.getByText('<b>wg</b>')).toBeVisible()
  expect(await page.evaluate(() => 'injected' in window)).toBe(false)
})

test('names cannot spoof the sight', async ({ page }) => {
  await fleetbeat.heartbeat({
    ...minimal,
    ip: '1.2.3.10',
    hostname: 'vpn\u202e10-ed',
    services: [{ name: 'w\u200bg', active: true }],
  })
  await fleetbeat.open(page, ADMIN)
  await expect(page.getByText('vpn⟨U+202E⟩10-ed')).toBeVisible()
  await expect(page.getByText('w⟨U+200B⟩g')).toBeVisible()
})

test('the dashboard works below a path of a proxy', async ({ page }) => {
  const proxy = createServer((incoming, outgoing) => {
    const path = incoming.url ?? ''
    if (!path.startsWith('/fleet/')) {
      outgoing.writeHead(404).end()
      return
    }
    const { method, headers } = incoming
    const target = request(fleetbeat.url + path.slice('/fleet'.length), { method, headers })
    target.on('response', (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(outgoing)
    })
    incoming.pipe(target)
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  const { port } = proxy.address() as AddressInfo

  try {
    const complaints = complaintsOf(page)
    await fleetbeat.heartbeat(minimal)
    await page.goto(`http://127.0.0.1:${port}/fleet/`)
    await page.getByLabel('User name').fill(ADMIN.username)
    await page.getByLabel('Password').fill(ADMIN.password)
    await page.getByRole('button', { name: 'Log in' }).click()
    const paid = page.getByRole('switch', { name: 'Paid: vpn-de-01' })
    await paid.click()
    await expect(paid).toBeChecked()
    expect(complaints).toEqual([])
  } finally {
    proxy.close()
  }
})

for (const width of [360, 768, 1240, 1920, 2560]) {
  test(`nothing sticks out of a page that is ${width} px wide`, async ({ page }) => {
    await page.setViewportSize({ width, height: 740 })
    await page.goto(fleetbeat.url)
    await expect(page.getByRole('button', { name: 'Log in' })).toBeVisible()
    expect(await overflow(page)).toBe(0)

    await fleetbeat.heartbeat({
      ...minimal,
      ip: '2001:db8:1111:2222:3333:4444:5555:6666',
      hostname: 'h'.repeat(253),
      city: 'Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch',
      services: Array.from({ length: 64 }, (_, index) => ({
        name: `service-${index}`.padEnd(64, '-'),
        active: index % 2 === 0,
      })),
      load: { cpu: 100, ram: 100, net: 100 },
    })
    await fleetbeat.heartbeats(
      ['AT', 'AU', 'BR', 'CH', 'FR', 'GB', 'IT', 'NL', 'SG', 'US'].map((countryCode, index) => ({
        ...minimal,
        ip: `10.8.0.${index}`,
        countryCode,
      })),
    )
    await fleetbeat.open(page, ADMIN)
    await expect(page.getByText('h'.repeat(253))).toBeVisible()
    expect(await overflow(page)).toBe(0)

    await page.route('**/servers/changes*', (route) => route.abort())
    await page.route('**/config', (route) => route.abort())
    await page.getByRole('switch').first().click()
    await expect(page.getByRole('alert')).toHaveCount(2)
    expect(await overflow(page)).toBe(0)
  })
}

test('a thousand hosts cost a screenful of rows, and the last one can be reached', async ({
  page,
}) => {
  const hosts = Array.from({ length: 1000 }, (_, index) => ({
    ...minimal,
    ip: `10.0.${index >> 8}.${index & 255}`,
    hostname: `zz-${index}`,
    collected_at: new Date().toISOString(),
  }))
  await fleetbeat.heartbeats(hosts.slice(0, 500))
  await fleetbeat.heartbeats(hosts.slice(500))
  await fleetbeat.open(page, ADMIN)
  await expect(page.getByRole('button', { name: /^1,0\d\d hosts$/ })).toBeVisible()
  await page.getByRole('columnheader', { name: 'Host' }).getByRole('button').click()
  expect(await page.getByRole('rowheader').count()).toBeLessThan(200)

  const last = page.getByRole('rowheader', { name: 'zz-999' })
  await expect(async () => {
    // The table scrolls by itself, under its header.
    await page.getByRole('table').evaluate((table) => table.scrollTo(0, table.scrollHeight))
    await expect(last).toBeInViewport({ timeout: 500 })
  }).toPass()
  expect(await page.getByRole('rowheader').count()).toBeLessThan(200)

  await page.getByLabel('Filter').fill('zz-777')
  await expect(page.getByRole('rowheader')).toHaveCount(1)
  await expect(page.getByRole('rowheader', { name: 'zz-777' })).toBeInViewport()
})
