import AxeBuilder from '@axe-core/playwright'
import { expect, test } from '@playwright/test'
import type { Page } from '@playwright/test'
import { ADMIN, golden, useFleetbeat } from './fleetbeat'

const fleetbeat = useFleetbeat()
const minimal = golden('heartbeat-minimal.json')

/** A host with an hour of heartbeats, and a silence of ten minutes among them. */
async function addHost(ip: string, hostname: string) {
  const now = Date.now()
  const bodies = Array.from({ length: 30 }, (_, index) => index)
    .filter((index) => index < 12 || index > 17)
    .map((index) => ({
      ...minimal,
      ip,
      hostname,
      collected_at: new Date(now - (30 - index) * 120_000).toISOString(),
      load: { cpu: 20 + index, ram: 40, net: 10 },
      services: [{ name: 'wg', active: index % 10 !== 0 }],
      metrics: { load1: 1.5 + index, 'disk_used_percent{mount="/"}': 71 },
    }))
  await fleetbeat.heartbeats(bodies)
  await fleetbeat.heartbeat({ ...bodies.at(-1), collected_at: undefined })
}

async function openHost(page: Page, hostname: string) {
  await fleetbeat.open(page, ADMIN)
  await page.getByRole('link', { name: hostname, exact: true }).click()
  await expect(page.getByRole('heading', { level: 1, name: hostname })).toBeVisible()
}

test.beforeAll(async () => {
  await addHost('10.8.0.1', 'chart-01')
  await addHost('10.8.0.2', 'chart-02')
})

test('a host shows its charts, its uptime and its events; a frame over a chart looks closer', async ({
  page,
}) => {
  await openHost(page, 'chart-01')
  const loads = page.getByRole('img', { name: 'CPU, RAM and net' })
  await expect(loads.locator('canvas')).toBeVisible()
  await expect(
    page.getByRole('img', { name: 'load1', exact: true }).locator('canvas'),
  ).toBeVisible()
  await expect(page.getByRole('img', { name: /of the last 90 days/ })).toBeVisible()
  await expect(page.getByText('New host')).toBeVisible()

  await page.getByRole('button', { name: '1 h', exact: true }).click()
  await expect(page.getByRole('button', { name: '1 h', exact: true })).toHaveAttribute(
    'aria-pressed',
    'true',
  )
  const box = await loads.locator('.u-over').boundingBox()
  if (box === null) throw new Error('no chart')
  await page.mouse.move(box.x + box.width * 0.4, box.y + 50)
  await page.mouse.down()
  await page.mouse.move(box.x + box.width * 0.6, box.y + 50, { steps: 5 })
  await page.mouse.up()
  const whole = page.getByRole('button', { name: 'Show the whole time' })
  await expect(whole).toBeVisible()
  await whole.click()
  await expect(whole).toHaveCount(0)

  await page.getByLabel('Compare with').fill('chart-02')
  await expect(page.getByRole('img', { name: 'CPU', exact: true })).toContainText('CPU chart-02')

  const url = page.url()
  await page.goto('about:blank')
  await page.goto(url)
  await expect(page.getByRole('heading', { level: 1, name: 'chart-01' })).toBeVisible()
})

test('tags, settings and the state are set, and a host is deleted after a question', async ({
  page,
}) => {
  await openHost(page, 'chart-02')
  await page.getByLabel('New tag').fill('env=prod')
  await page.getByRole('button', { name: 'Add', exact: true }).click()
  await expect(page.getByRole('button', { name: 'Remove env=prod' })).toBeVisible()
  expect((await fleetbeat.server('10.8.0.2')).tags).toEqual({ env: 'prod' })
  await page.getByRole('button', { name: 'Remove env=prod' }).click()
  await expect(page.getByRole('button', { name: 'Remove env=prod' })).toHaveCount(0)

  await page.getByRole('button', { name: 'Change settings' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Quota in GB').fill('500')
  await dialog.getByLabel('Most clients').fill('250')
  await dialog.getByRole('button', { name: 'Save' }).click()
  await expect(dialog).toHaveCount(0)
  expect((await fleetbeat.server('10.8.0.2')).settings).toEqual({
    max_sessions: 250,
    billing: { quota_bytes: 500e9 },
  })

  await page.getByRole('button', { name: 'Set the state' }).click()
  await page.getByRole('menuitemcheckbox', { name: 'Drain: no further clients' }).click()
  await dialog.getByLabel('Reason').fill('kernel')
  await dialog.getByRole('button', { name: 'Save' }).click()
  await expect(page.getByText('draining', { exact: true })).toBeVisible()

  await page.getByRole('button', { name: 'Delete …' }).click()
  await dialog.getByRole('button', { name: 'Delete', exact: true }).click()
  await expect(page.getByText(/^chart-02 is deleted/)).toBeVisible()
  await expect(page.getByRole('link', { name: 'chart-01', exact: true })).toBeVisible()
  await expect(page.getByRole('link', { name: 'chart-02', exact: true })).toHaveCount(0)
})

test('Enter on a row of the fleet opens the host', async ({ page }) => {
  await fleetbeat.open(page, ADMIN)
  await page.getByRole('row').nth(1).focus()
  await page.keyboard.press('Enter')
  await expect(page.getByRole('heading', { level: 1, name: 'chart-01' })).toBeVisible()
})

test('a few letters go to a host or a page', async ({ page }) => {
  await fleetbeat.open(page, ADMIN)
  await expect(page.getByRole('row').nth(1)).toBeVisible()
  await page.keyboard.press('Control+k')
  const palette = page.getByRole('combobox', { name: 'Go to …' })
  await palette.fill('rt-01')
  await expect(page.getByRole('option', { name: 'chart-01' })).toHaveAttribute(
    'aria-selected',
    'true',
  )
  await page.keyboard.press('Enter')
  await expect(page.getByRole('heading', { level: 1, name: 'chart-01' })).toBeVisible()
  await page.getByRole('button', { name: 'Go to …' }).click()
  await palette.fill('mutes')
  await page.keyboard.press('Enter')
  await expect(page.getByRole('tab', { name: 'Mutes' })).toHaveAttribute('aria-selected', 'true')
})

test('events come by themselves, and are filtered', async ({ page }) => {
  await fleetbeat.open(page, ADMIN)
  await page.getByRole('link', { name: 'Events', exact: true }).click()
  await expect(page.getByRole('row', { name: 'Fleetbeat started' })).toBeVisible()
  await fleetbeat.heartbeat({ ...minimal, ip: '10.8.0.3', hostname: 'just-came' })
  await expect(
    page.getByRole('row', { name: 'New host' }).filter({ hasText: 'just-came' }),
  ).toBeVisible()

  await page.getByLabel('Host', { exact: true }).fill('10.8.0.3')
  await page.keyboard.press('Enter')
  await expect(page.getByRole('row', { name: 'Fleetbeat started' })).toHaveCount(0)
  await expect(page).toHaveURL(/host=10\.8\.0\.3/)
  await page.getByLabel('Kind', { exact: true }).selectOption('user.*')
  await expect(page.getByText('No event matches.')).toBeVisible()
})

for (const colorScheme of ['light', 'dark'] as const) {
  test(`axe finds nothing serious on the other pages in the ${colorScheme} theme`, async ({
    page,
  }) => {
    // Six pages, each looked at as a whole.
    test.setTimeout(180_000)
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    await openHost(page, 'chart-01')
    await expect(page.locator('canvas').first()).toBeVisible()
    await expectAccessible(page)
    for (const path of ['events', 'alerts', 'alerts/rules', 'alerts/channels', 'alerts/mutes']) {
      await page.goto(`${fleetbeat.url}/#/${path}`)
      await expect(page.getByRole('heading', { level: 1 })).toBeVisible()
      await expect(page.getByText('Loading …')).toHaveCount(0)
      await expectAccessible(page)
    }
  })
}

async function expectAccessible(page: Page) {
  const { violations } = await new AxeBuilder({ page }).analyze()
  const serious = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact ?? ''))
  expect(serious.map(({ id, nodes }) => [id, ...nodes.map(({ html }) => html)])).toEqual([])
}

for (const width of [360, 2560]) {
  test(`nothing sticks out of the other pages at ${width} px`, async ({ page }) => {
    await page.setViewportSize({ width, height: 900 })
    await fleetbeat.open(page, ADMIN)
    const host = await fleetbeat.server('10.8.0.1')
    for (const path of [`hosts/${String(host.server_id)}`, 'events', 'alerts', 'alerts/rules']) {
      await page.goto(`${fleetbeat.url}/#/${path}`)
      await expect(page.getByRole('heading', { level: 1 })).toBeVisible()
      await expect(page.getByText('Loading …')).toHaveCount(0)
      const overflow = await page.evaluate(() => {
        const { scrollWidth, clientWidth } = document.documentElement
        const content = document.querySelector('#content')
        return Math.max(
          scrollWidth - clientWidth,
          (content?.scrollWidth ?? 0) - (content?.clientWidth ?? 0),
        )
      })
      expect(overflow, path).toBe(0)
    }
  })
}
