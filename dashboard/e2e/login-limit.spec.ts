import { expect, test } from '@playwright/test'
import { useFleetbeat } from './fleetbeat'

// In a file of its own, because the server counts the logins of all tests of a file
// together.
const fleetbeat = useFleetbeat()

test('too many wrong passwords are answered with how long to wait', async ({ page }) => {
  await page.goto(fleetbeat.url)
  await page.getByLabel('User name').fill('mallory')
  const submit = page.getByRole('button', { name: 'Log in' })
  const alert = page.getByRole('alert')
  const limited = alert.filter({ hasText: /^Too many attempts\. Try again in \d+ s\.$/ })
  // The limit is five a minute. Each attempt above the limit would make the wait longer.
  for (let attempt = 0; attempt < 6 && (await limited.count()) === 0; attempt++) {
    await page.getByLabel('Password').fill(`guess number ${attempt}`)
    const answer = page.waitForResponse('**/token')
    await submit.click()
    await answer
    await expect(alert).toBeVisible()
  }
  await expect(limited).toBeVisible()
})
