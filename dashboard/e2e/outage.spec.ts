import { expect, test } from '@playwright/test'
import { ADMIN, golden, useFleetbeat } from './fleetbeat'

const fleetbeat = useFleetbeat()

test('while the server is away the last table stays under a banner, which goes when it is back', async ({
  page,
}) => {
  await fleetbeat.heartbeat(golden('heartbeat-minimal.json'))
  await fleetbeat.open(page, ADMIN)
  const host = page.getByRole('row', { name: 'vpn-de-01' })
  await expect(host).toBeVisible()

  await fleetbeat.stop()
  await expect(page.getByRole('alert')).toHaveText('Fleetbeat cannot be reached.')
  await expect(page.getByText(/Last update: \d+ s ago\./)).toBeVisible()
  await expect(host).toBeVisible()

  await fleetbeat.start()
  await expect(page.getByRole('alert')).toHaveCount(0)
  await expect(host).toBeVisible()
})

test('an answer of 500 is shown with its request id', async ({ page }) => {
  const problem = {
    status: 500,
    title: 'Internal Server Error',
    detail: 'The storage is away.',
    request_id: '4f2a90c1',
  }
  await fleetbeat.open(page, ADMIN)
  await expect(page.getByRole('table')).toBeVisible()
  await page.route('**/servers/changes*', (route) =>
    route.fulfill({
      status: 500,
      contentType: 'application/problem+json',
      body: JSON.stringify(problem),
    }),
  )
  await expect(page.getByRole('alert')).toHaveText(
    'Fleetbeat has a problem: The storage is away (request 4f2a90c1).',
  )
  await page.unroute('**/servers/changes*')
  await expect(page.getByRole('alert')).toHaveCount(0)
})
