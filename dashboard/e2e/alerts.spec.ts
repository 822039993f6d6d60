import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from '@playwright/test'
import type { Page } from '@playwright/test'
import { ADMIN, READONLY, golden, useFleetbeat } from './fleetbeat'

// Channels may be on loopback, and silent hosts are down soon.
const fleetbeat = useFleetbeat([
  '[alerts]',
  'allow_private = ["127.0.0.0/8"]',
  '[sweep]',
  'interval = "1s"',
  'down_after = "5s"',
])
const minimal = golden('heartbeat-minimal.json')

/** Looks at alerts are ten seconds apart. */
const NEXT_LOOK = { timeout: 40_000 }

/** Sends heartbeats of the host until the answer is called. */
async function keepBeating(body: Record<string, unknown>): Promise<() => void> {
  await fleetbeat.heartbeat(body)
  const timer = setInterval(() => void fleetbeat.heartbeat(body).catch(() => undefined), 1000)
  return () => clearInterval(timer)
}

async function openAlerts(page: Page, tab: string, user = ADMIN) {
  await fleetbeat.open(page, user)
  await page.getByRole('link', { name: 'Alerts', exact: true }).click()
  await page.getByRole('tab', { name: tab }).click()
}

test('a rule is tried, made and fires; the alert is taken on, muted and in the history', async ({
  page,
}) => {
  test.setTimeout(120_000)
  const stop = await keepBeating({
    ...minimal,
    ip: '10.7.0.1',
    hostname: 'busy-01',
    load: { cpu: 91.2, ram: 10, net: 1 },
  })
  try {
    await openAlerts(page, 'Rules')
    // The server makes its own rules at its first look, if there is none.
    await expect(async () => {
      await page.reload()
      await expect(page.getByRole('row', { name: 'Host down' })).toBeVisible({ timeout: 1_000 })
    }).toPass({ timeout: 30_000 })
    await page.getByRole('button', { name: 'New rule' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByLabel('Name').fill('Busy')
    await dialog.getByLabel('What is wrong').selectOption('A load is beyond a limit')
    await dialog.getByLabel('Limit').fill('90')
    await dialog.getByLabel('Hosts').fill('hostname = busy-01')
    await dialog.getByLabel('Wrong for at least').fill('soon')
    await dialog.getByRole('button', { name: 'Who would fire?' }).click()
    await expect(dialog.getByRole('alert').first()).toBeVisible()
    await dialog.getByLabel('Wrong for at least').fill('0s')
    await dialog.getByRole('button', { name: 'Who would fire?' }).click()
    await expect(dialog.getByRole('status').last()).toContainText('1 alert would fire now.')
    await expect(dialog.getByRole('status').last()).toContainText(/busy-01\s*cpu 91\.2 %/)
    await dialog.getByRole('button', { name: 'Save' }).click()
    await expect(page.getByRole('row', { name: 'Busy' })).toContainText('CPU > 90 %')

    await page.getByRole('tab', { name: 'Firing' }).click()
    const group = page
      .locator('section')
      .filter({ has: page.getByRole('heading', { name: 'Busy' }) })
    await expect(group).toContainText('91.2 % (limit 90.0 %)', NEXT_LOOK)
    await group.getByRole('button', { name: 'Acknowledge: busy-01' }).click()
    await page.getByRole('dialog').getByLabel('Note for the others').fill('the <b>backup</b> runs')
    await page.getByRole('dialog').getByRole('button', { name: 'Acknowledge' }).click()
    await expect(group).toContainText('admin takes care of it')
    await expect(group).toContainText('the <b>backup</b> runs')
    await group.getByRole('button', { name: 'Give back' }).click()
    await expect(group.getByRole('button', { name: 'Acknowledge: busy-01' })).toBeVisible()

    await group.getByRole('button', { name: 'Mute: busy-01' }).click()
    await page.getByRole('menuitem', { name: 'For 8 hours' }).click()
    await expect(page.getByText(/^Muted until /)).toBeVisible()
    await expect(group).toContainText('muted', NEXT_LOOK)
    await page.getByRole('tab', { name: 'Mutes' }).click()
    const mute = page.getByRole('row', { name: /server_id = srv-/ })
    await expect(mute).toContainText('Busy')
    await mute.getByRole('button', { name: 'End it' }).click()
    await expect(page.getByText('Nothing is muted.')).toBeVisible()

    await page.getByRole('tab', { name: 'History' }).click()
    await expect(page.getByRole('row', { name: 'busy-01' })).toContainText('firing')
    await page.goBack()
    await expect(page.getByRole('tab', { name: 'Mutes' })).toHaveAttribute('aria-selected', 'true')
  } finally {
    stop()
  }
})

test('a host falls silent: row, message, acknowledgement and recovery; a message that was refused is sent again', async ({
  page,
}) => {
  test.setTimeout(150_000)
  const texts: string[] = []
  let status = 200
  const receiver = createServer((incoming, outgoing) => {
    let body = ''
    incoming.on('data', (chunk: Buffer) => (body += chunk.toString()))
    incoming.on('end', () => {
      texts.push(body)
      outgoing.writeHead(status, { 'Content-Type': 'application/json' }).end('{"ok":true}')
    })
  })
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve))
  const { port } = receiver.address() as AddressInfo
  const body = { ...minimal, ip: '10.7.0.2', hostname: 'quiet-01' }
  let stop = await keepBeating(body)

  try {
    await openAlerts(page, 'Channels')
    await page.getByRole('button', { name: 'New channel' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByLabel('Name').fill('On call')
    await dialog.getByLabel('Kind').selectOption('telegram')
    await dialog.getByLabel('token').fill('123456:ABC-def')
    await dialog.getByLabel('chat_id').fill('-100123')
    await dialog.getByLabel('url').fill(`http://127.0.0.1:${port}`)
    await dialog.getByRole('button', { name: 'Save' }).click()
    const channel = page.getByRole('row', { name: 'On call' })
    await expect(channel).toContainText('telegram')
    await channel.getByRole('button', { name: 'Test On call' }).click()
    await expect(page.getByText('A message was sent by On call.')).toBeVisible()
    expect(texts).toHaveLength(1)
    status = 400
    await channel.getByRole('button', { name: 'Test On call' }).click()
    await expect(page.getByText(/^No message was sent by On call: refused 400/)).toBeVisible()

    stop()
    await page.getByRole('tab', { name: 'Firing' }).click()
    const group = page
      .locator('section')
      .filter({ has: page.getByRole('heading', { name: 'Host down' }) })
    await expect(group).toContainText('quiet-01', NEXT_LOOK)
    await group.getByRole('button', { name: 'Acknowledge: quiet-01' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Acknowledge' }).click()
    await expect(group).toContainText('admin takes care of it')

    // The message waits half a minute for others of its group; then it is refused for good.
    await page.getByRole('tab', { name: 'Messages' }).click()
    const dead = page.getByRole('row', { name: 'On call' })
    await expect(dead).toContainText('given up', { timeout: 80_000 })
    status = 200
    await dead.getByRole('button', { name: 'Try again' }).click()
    await expect(page.getByText('No message was given up.')).toBeVisible()
    await expect
      .poll(() => texts.filter((text) => text.includes('quiet-01')).length)
      .toBeGreaterThan(1)

    stop = await keepBeating(body)
    await page.getByRole('tab', { name: 'History' }).click()
    await expect(page.getByRole('row', { name: 'quiet-01' })).toContainText('over', NEXT_LOOK)
    await page.getByRole('link', { name: 'Fleet', exact: true }).click()
    await expect(page.getByRole('row', { name: 'quiet-01' })).toContainText('active')
  } finally {
    stop()
    receiver.close()
  }
})

test('what a role may not do is there, disabled, with the reason', async ({ page }) => {
  await fleetbeat.addUser(READONLY, 'readonly')
  await openAlerts(page, 'Rules', READONLY)
  const reason = 'Your role is readonly: this needs the role admin.'
  await expect(page.getByRole('button', { name: 'New rule' })).toBeDisabled()
  await expect(page.getByRole('button', { name: 'New rule' })).toHaveAttribute('title', reason)
  await page.getByRole('tab', { name: 'Channels' }).click()
  await expect(page.getByText(reason)).toBeVisible()
})
