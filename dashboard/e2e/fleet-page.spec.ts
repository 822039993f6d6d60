import AxeBuilder from '@axe-core/playwright'
import { expect, test } from '@playwright/test'
import type { Page } from '@playwright/test'
import { ADMIN, READONLY, golden, useFleetbeat } from './fleetbeat'

const fleetbeat = useFleetbeat()
const minimal = golden('heartbeat-minimal.json')

const HOSTS = [
  ['vpn-de-01', '10.1.0.1', 'Munich', 'DE', 'Germany'],
  ['vpn-de-02', '10.1.0.2', 'Berlin', 'DE', 'Germany'],
  ['vpn-jp-01', '10.2.0.1', 'Tokyo', 'JP', 'Japan'],
] as const

test.beforeAll(async () => {
  for (const [hostname, ip, city, countryCode, country] of HOSTS) {
    await fleetbeat.heartbeat({ ...minimal, hostname, ip, city, countryCode, country })
  }
  await fleetbeat.addUser(READONLY, 'readonly')
})

function hosts(page: Page) {
  return page.getByRole('rowheader')
}

test('the search completes selectors by the keyboard, and shows where one is wrong', async ({
  page,
}) => {
  await fleetbeat.open(page, ADMIN)
  await expect(hosts(page)).toHaveCount(3)
  await page.keyboard.press('/')
  const search = page.getByLabel('Filter')
  await expect(search).toBeFocused()

  await page.keyboard.type('coun')
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('Enter')
  await expect(search).toHaveValue('country ')
  await page.keyboard.type('= j')
  await expect(page.getByRole('option')).toHaveText(['JP'])
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('Tab')
  await expect(search).toHaveValue('country = JP ')
  await expect(hosts(page)).toContainText(['vpn-jp-01'])
  await expect(page).toHaveURL(/#\/fleet\?q=country/)

  await page.keyboard.type('and wg')
  await expect(page.getByText('at character 18: "wg" is not a field')).toBeVisible()
  await expect(search).toHaveAttribute('aria-invalid', 'true')
})

test('what is shown stands in the URL, and in views that are kept', async ({ page }) => {
  await fleetbeat.open(page, ADMIN)
  await page.getByLabel('Filter').fill('country = DE')
  await page.getByRole('columnheader', { name: 'Place' }).getByRole('button').click()
  await page.getByRole('button', { name: 'Columns' }).click()
  await page.getByLabel('Agent', { exact: true }).check()
  await page.getByLabel('CPU', { exact: true }).uncheck()
  await page.keyboard.press('Escape')
  await expect(hosts(page)).toContainText(['vpn-de-02', 'vpn-de-01'])

  await page.getByRole('button', { name: 'Views' }).click()
  await page.getByLabel('Name of the view').fill('Germany')
  await page.getByRole('button', { name: 'Save this view' }).click()
  await expect(page.getByRole('button', { name: 'Germany', exact: true })).toBeVisible()
  await page.keyboard.press('Escape')
  const url = page.url()

  await page.getByLabel('Filter').fill('')
  await page.getByRole('button', { name: 'Columns' }).click()
  await page.getByRole('button', { name: 'Reset columns' }).click()
  await page.keyboard.press('Escape')
  await expect(hosts(page)).toHaveCount(3)
  await expect(page.getByRole('columnheader', { name: 'CPU' })).toBeVisible()

  await page.getByRole('button', { name: 'Views' }).click()
  await page.getByRole('button', { name: 'Germany', exact: true }).click()
  await expect(hosts(page)).toContainText(['vpn-de-02', 'vpn-de-01'])
  await expect(page.getByRole('columnheader', { name: 'Agent' })).toBeVisible()
  await expect(page.getByRole('columnheader', { name: 'CPU' })).toHaveCount(0)

  await page.goto('about:blank')
  await page.goto(url)
  await expect(hosts(page)).toContainText(['vpn-de-02', 'vpn-de-01'])
  await expect(page.getByRole('columnheader', { name: 'CPU' })).toHaveCount(0)
})

test('a tag is set on hosts that are selected, unless that is taken back in time', async ({
  page,
}) => {
  await fleetbeat.open(page, ADMIN)
  await page.getByRole('checkbox', { name: 'Select vpn-de-01' }).check()
  await page.getByRole('checkbox', { name: 'Select vpn-jp-01' }).check()

  async function order() {
    await page.getByRole('button', { name: 'Change 2 hosts' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByLabel('What to do').selectOption('Set a tag')
    await dialog.getByLabel('Key of the tag').fill('rack')
    await dialog.getByLabel('Value').fill('a1')
    await dialog.getByRole('button', { name: 'Next' }).click()
    await expect(dialog).toContainText('2 hosts are meant.')
    await expect(dialog).toContainText('vpn-de-01, vpn-jp-01')
    await dialog.getByRole('button', { name: 'Change 2 hosts' }).click()
  }

  await order()
  await page.getByRole('button', { name: 'Undo' }).click()
  await expect(page.getByText('Nothing was changed.')).toBeVisible()
  expect((await fleetbeat.server('10.1.0.1')).tags).toEqual({})

  await page.getByRole('checkbox', { name: 'Select vpn-de-01' }).check()
  await page.getByRole('checkbox', { name: 'Select vpn-jp-01' }).check()
  await order()
  await expect(page.getByText(/2 hosts are changed in \d+ s\./)).toBeVisible()
  await expect(page.getByText('2 hosts are changed.', { exact: true })).toBeVisible({
    timeout: 20_000,
  })
  for (const ip of ['10.1.0.1', '10.2.0.1']) {
    expect((await fleetbeat.server(ip)).tags).toEqual({ rack: 'a1' })
  }
  expect((await fleetbeat.server('10.1.0.2')).tags).toEqual({})
})

test('a selector drains hosts, with the count of the API before', async ({ page }) => {
  await fleetbeat.open(page, ADMIN)
  await page.getByLabel('Filter').fill('country = DE')
  await page.getByRole('button', { name: 'Change 2 hosts' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('What to do').selectOption('Set the state')
  await dialog.getByLabel('Reason').fill('kernel')
  await dialog.getByRole('button', { name: 'Next' }).click()
  await dialog.getByRole('button', { name: 'Change 2 hosts' }).click()
  await expect(page.getByText('2 hosts are changed.', { exact: true })).toBeVisible({
    timeout: 20_000,
  })
  await expect(page.getByRole('row', { name: 'vpn-de-01' })).toContainText('draining')
  await expect(page.getByRole('row', { name: 'vpn-de-01' }).getByTitle(/kernel/)).toBeVisible()
  await expect(page.getByRole('button', { name: '2 draining' })).toBeVisible()
})

test('what a role may not do is there, disabled, with the reason', async ({ page }) => {
  await fleetbeat.open(page, READONLY)
  const change = page.getByRole('button', { name: 'Change 3 hosts' })
  await expect(change).toBeDisabled()
  await expect(change).toHaveAttribute('title', 'Your role is readonly: this needs the role admin.')
})

test('the keyboard alone goes through the table and changes a flag', async ({ page }) => {
  await fleetbeat.open(page, ADMIN)
  const first = page.getByRole('row').nth(1)
  await first.focus()
  await page.keyboard.press('ArrowDown')
  await expect(page.getByRole('row').nth(2)).toBeFocused()
  await page.keyboard.press('Space')
  await expect(page.getByRole('row').nth(2)).toHaveAttribute('aria-selected', 'true')
  await page.keyboard.press('End')
  await expect(page.getByRole('row').nth(3)).toBeFocused()
  await page.keyboard.press('?')
  await expect(page.getByRole('dialog', { name: 'Keyboard shortcuts' })).toBeVisible()
  await page.keyboard.press('Escape')
  await expect(page.getByRole('dialog')).toHaveCount(0)
})

test('the language and the theme are chosen, and stay over a reload', async ({ page }) => {
  await page.emulateMedia({ colorScheme: 'light' })
  await fleetbeat.open(page, ADMIN)
  await page.getByRole('button', { name: 'Account' }).click()
  await page.getByRole('menuitemcheckbox', { name: 'Dark' }).click()
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark')
  await page.getByRole('button', { name: 'Account' }).click()
  await page.getByRole('menuitemcheckbox', { name: 'Deutsch' }).click()
  await expect(page.getByRole('columnheader', { name: 'Dienste' })).toBeVisible()
  await page.reload()
  await expect(page.getByRole('columnheader', { name: 'Dienste' })).toBeVisible()
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark')
  await expect(page.locator('html')).toHaveAttribute('lang', 'de')
})

test('a row keeps the scroll, the selection and the open menu while hosts change', async ({
  page,
}) => {
  const many = Array.from({ length: 300 }, (_, index) => ({
    ...minimal,
    ip: `10.9.${index >> 8}.${index & 255}`,
    hostname: `many-${String(index).padStart(3, '0')}`,
    collected_at: new Date().toISOString(),
  }))
  await fleetbeat.heartbeats(many)
  await fleetbeat.open(page, ADMIN)
  await page.getByLabel('Filter').fill('many')
  await page.getByRole('columnheader', { name: 'Host' }).getByRole('button').click()
  const table = page.getByRole('table')
  const row = page.getByRole('row', { name: 'many-120' })
  // Filter and sort take the table to its top again, when they come to it.
  await expect(async () => {
    await table.evaluate((element) => element.scrollTo(0, 5_000))
    await expect(row).toBeInViewport({ timeout: 1_000 })
  }).toPass()
  await row.getByRole('checkbox').check()
  await page.getByRole('button', { name: 'Columns' }).click()
  const top = await table.evaluate((element) => element.scrollTop)

  await fleetbeat.heartbeat({
    ...minimal,
    ip: '10.9.0.120',
    hostname: 'many-120',
    services: [{ name: 'changed', active: true }],
  })
  await expect(row).toContainText('changed', { timeout: 10_000 })
  expect(await table.evaluate((element) => element.scrollTop)).toBe(top)
  await expect(row.getByRole('checkbox')).toBeChecked()
  await expect(page.getByRole('button', { name: 'Reset columns' })).toBeVisible()
})

for (const colorScheme of ['light', 'dark'] as const) {
  test(`axe finds nothing serious on the pages in the ${colorScheme} theme`, async ({ page }) => {
    async function check() {
      const { violations } = await new AxeBuilder({ page }).analyze()
      const serious = violations.filter(({ impact }) =>
        ['serious', 'critical'].includes(impact ?? ''),
      )
      const told = serious.map(({ id, nodes }) => [id, ...nodes.map(({ html }) => html)])
      expect(told).toEqual([])
    }

    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    await page.goto(fleetbeat.url)
    await expect(page.getByRole('button', { name: 'Log in' })).toBeVisible()
    await check()
    await fleetbeat.open(page, ADMIN)
    await expect(hosts(page).first()).toBeVisible()
    await check()
    await page.getByRole('button', { name: /^Change / }).click()
    await expect(page.getByRole('dialog')).toBeVisible()
    await check()
    await page.keyboard.press('Escape')
    await page.setViewportSize({ width: 360, height: 740 })
    await expect(page.getByRole('listitem').first()).toBeVisible()
    await check()
  })
}
