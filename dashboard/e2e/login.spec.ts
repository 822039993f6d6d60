import { expect, test } from '@playwright/test'
import { ADMIN, golden, logOut, useFleetbeat } from './fleetbeat'

const fleetbeat = useFleetbeat()

test('a wrong password is refused, the right one opens the fleet until logging out', async ({
  page,
}) => {
  await fleetbeat.heartbeat(golden('heartbeat-minimal.json'))
  await page.goto(fleetbeat.url)
  await page.getByLabel('User name').fill(ADMIN.username)
  await page.getByLabel('Password').fill('wrong password')
  await page.getByRole('button', { name: 'Log in' }).click()
  await expect(page.getByRole('alert')).toHaveText('Wrong user name or password.')

  await page.getByLabel('Password').fill(ADMIN.password)
  await page.keyboard.press('Enter')
  await expect(page.getByRole('banner')).toContainText('admin')
  await expect(page.getByRole('banner')).toContainText('superadmin')
  await expect(page.getByRole('row', { name: 'vpn-de-01' })).toBeVisible()

  await page.reload()
  await expect(page.getByRole('row', { name: 'vpn-de-01' })).toBeVisible()

  await logOut(page)
  await expect(page.getByRole('button', { name: 'Log in' })).toBeVisible()
  await page.reload()
  await expect(page.getByRole('button', { name: 'Log in' })).toBeVisible()
})

test.describe('a token that is no longer good', () => {
  const zoe = { username: 'zoe', password: 'her first password' }

  test('leads back to the login with the reason', async ({ page }) => {
    await fleetbeat.addUser(zoe, 'admin')
    await fleetbeat.open(page, zoe)
    await expect(page.getByRole('table')).toBeVisible()
    await fleetbeat.changePassword(zoe.username, 'her second password')
    await expect(page.getByText('Your session has ended. Log in again.')).toBeVisible()
    await expect(page.getByRole('button', { name: 'Log in' })).toBeVisible()
    expect(await page.evaluate(() => localStorage.length)).toBe(0)
  })

  test('is not taken from a browser that kept it', async ({ page }) => {
    await page.goto(fleetbeat.url)
    await page.evaluate(() => localStorage.setItem('fleetbeat.token', 'aaa.bbb.ccc'))
    await page.reload()
    await expect(page.getByText('Your session has ended. Log in again.')).toBeVisible()
  })

  test('that was removed in another tab logs out this one', async ({ page, context }) => {
    await fleetbeat.open(page, ADMIN)
    await expect(page.getByRole('table')).toBeVisible()
    const other = await context.newPage()
    await other.goto(fleetbeat.url)
    await other.evaluate(() => localStorage.clear())
    await expect(page.getByRole('button', { name: 'Log in' })).toBeVisible()
  })
})
