import { expect, test } from '@playwright/test'
import type { Page } from '@playwright/test'
import { ADMIN, READONLY, golden, useFleetbeat } from './fleetbeat'

const fleetbeat = useFleetbeat()
const minimal = golden('heartbeat-minimal.json')
const full = golden('heartbeat-full.json')

test.beforeAll(async () => {
  await fleetbeat.heartbeat(minimal)
  await fleetbeat.heartbeat({ ...full, hostname: 'vpn-de-06' })
  await fleetbeat.addUser(READONLY, 'readonly')
})

function row(page: Page, hostname: string) {
  return page.getByRole('row', { name: hostname })
}

/** The button of a column's header. */
function header(page: Page, column: string) {
  return page.getByRole('columnheader', { name: column }).getByRole('button')
}

test('the table shows each host with its place, services and load', async ({ page }) => {
  await fleetbeat.open(page, ADMIN)
  const host = row(page, 'vpn-de-01')
  for (const text of [
    'active',
    '1.2.3.4',
    'Munich, Germany',
    'DE',
    '23.5 %',
    '45.2 %',
    '12.8 %',
    /just now|\d+ s ago/,
  ]) {
    await expect(host).toContainText(text)
  }
  await expect(host.getByTitle('wg: active')).toBeVisible()
  await expect(host.getByTitle('ov: not active')).toBeVisible()
  await expect(row(page, 'vpn-de-06').getByTitle('Not measured')).toBeVisible()
  await expect(page.getByRole('button', { name: '2 hosts', exact: true })).toBeVisible()
  await expect(page.getByRole('button', { name: '0 down' })).toBeVisible()
})

test('a heartbeat changes the row within a refresh', async ({ page }) => {
  await fleetbeat.open(page, ADMIN)
  await expect(row(page, 'vpn-de-01')).toContainText('23.5 %')
  await fleetbeat.heartbeat({
    ...minimal,
    load: { cpu: 97.1, ram: 45.2, net: null },
    services: [{ name: 'wg', active: false }],
  })
  await expect(row(page, 'vpn-de-01')).toContainText('97.1 %', { timeout: 10_000 })
  await expect(row(page, 'vpn-de-01').getByTitle('wg: not active')).toBeVisible()
  await fleetbeat.heartbeat(minimal)
})

for (const [kind, hostname, ip] of [
  ['IPv4', 'vpn-de-01', '1.2.3.4'],
  ['IPv6', 'vpn-de-06', '2001:db8::7'],
] as const) {
  test(`a flag of an ${kind} host is set for everyone, and outlives a reload and a heartbeat`, async ({
    page,
  }) => {
    await fleetbeat.open(page, ADMIN)
    const gaming = page.getByRole('switch', { name: `Gaming: ${hostname}` })
    await expect(gaming).not.toBeChecked()
    await gaming.click()
    await expect(gaming).toBeChecked()
    await expect.poll(async () => (await fleetbeat.server(ip)).gaming).toBe(true)
    await fleetbeat.heartbeat(ip === '1.2.3.4' ? minimal : { ...full, hostname })
    await page.reload()
    await expect(gaming).toBeChecked()

    await gaming.focus()
    await page.keyboard.press('Space')
    await expect(gaming).not.toBeChecked()
    await expect.poll(async () => (await fleetbeat.server(ip)).gaming).toBe(false)
  })
}

test('the keyboard stays on a switch whose row moves', async ({ page }) => {
  await fleetbeat.open(page, ADMIN)
  const hosts = page.getByRole('rowheader')
  await header(page, 'Static').click()
  await expect(hosts).toContainText(['vpn-de-01', 'vpn-de-06'])
  const second = page.getByRole('switch', { name: 'Static: vpn-de-06' })
  for (const order of [
    ['vpn-de-06', 'vpn-de-01'],
    ['vpn-de-01', 'vpn-de-06'],
  ]) {
    await second.focus()
    await page.keyboard.press('Space')
    await expect(hosts).toContainText(order)
    await expect(second).toBeFocused()
    await expect(second).toHaveAttribute('aria-busy', 'false')
  }
})

test('a switch does not flip back over the refreshes after a click', async ({ page }) => {
  await fleetbeat.open(page, ADMIN)
  const paid = page.getByRole('switch', { name: 'Paid: vpn-de-01' })
  await expect(paid).not.toBeChecked()
  // Records every state of the switch, because a poll could miss a short one.
  await paid.evaluate((element) => {
    const states: (string | null)[] = []
    Object.assign(window, { states })
    const record = () => states.push(element.getAttribute('aria-checked'))
    new MutationObserver(record).observe(element, {
      attributes: true,
      attributeFilter: ['aria-checked'],
    })
  })
  await paid.click()
  for (let refresh = 0; refresh < 2; refresh++) await page.waitForResponse('**/servers/changes*')
  await expect(paid).toBeChecked()
  expect(await page.evaluate((): unknown => Reflect.get(window, 'states'))).toEqual(['true'])
})

test('a flag that cannot be saved is rolled back with a message', async ({ page }) => {
  await fleetbeat.open(page, ADMIN)
  await page.route('**/config', (route) => route.abort())
  const streaming = page.getByRole('switch', { name: 'Streaming: vpn-de-01' })
  await streaming.click()
  await expect(page.getByRole('alert')).toContainText('“streaming” of vpn-de-01 was not changed')
  await expect(streaming).not.toBeChecked()
  await page.getByRole('button', { name: 'Dismiss' }).click()
  await expect(page.getByRole('alert')).toHaveCount(0)
})

test('readonly users see the switches but cannot use them', async ({ page }) => {
  await fleetbeat.open(page, READONLY)
  await expect(page.getByText('Your role is readonly: this needs the role admin.')).toBeVisible()
  const switches = page.getByRole('switch')
  await expect(switches).toHaveCount(10)
  for (const flag of await switches.all()) await expect(flag).toBeDisabled()
})

test('the filter and the headers find and order hosts', async ({ page }) => {
  await fleetbeat.open(page, ADMIN)
  const hosts = page.getByRole('rowheader')
  await expect(hosts).toHaveCount(2)
  await header(page, 'Host').click()
  await expect(hosts).toContainText(['vpn-de-01', 'vpn-de-06'])
  await header(page, 'Host').click()
  await expect(hosts).toContainText(['vpn-de-06', 'vpn-de-01'])
  await expect(page.getByRole('columnheader', { name: 'Host' })).toHaveAttribute(
    'aria-sort',
    'descending',
  )
  await page.getByLabel('Filter').fill('2001:db8 munich')
  await expect(hosts).toContainText(['vpn-de-06'])
  await expect(hosts).toHaveCount(1)
})
