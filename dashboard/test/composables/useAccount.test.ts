import { expect, test } from 'vitest'
import { useAccount } from '../../src/composables/useAccount'
import { ADMIN, UNREACHABLE, anApi } from '../support'

test('is asked for until there is an answer, and then no more', async () => {
  const api = anApi()
  api.account.mockRejectedValueOnce(UNREACHABLE)
  const { account, load } = useAccount(api)
  await expect(load()).rejects.toBe(UNREACHABLE)
  expect(account.value).toBeNull()
  await load()
  await load()
  expect(account.value).toEqual(ADMIN)
  expect(api.account).toHaveBeenCalledTimes(2)
})

test.each([
  ['readonly', 'Your role is readonly: this needs the role admin.'],
  ['admin', null],
  ['superadmin', null],
] as const)('the role %s locks the flags or does not', async (role, reason) => {
  const api = anApi()
  api.account.mockResolvedValueOnce({ username: 'ada', role, totp: false, scope: null })
  const { lockedReason, load } = useAccount(api)
  expect(lockedReason.value).toBe('Your role is not known yet.')
  await load()
  expect(lockedReason.value).toBe(reason)
})
