import { beforeEach, expect, test } from 'vitest'
import { useSession } from '../../src/composables/useSession'

beforeEach(() => localStorage.clear())

test('a login outlives a reload, a log-out does too', () => {
  useSession(localStorage).start('a.b.c')
  const reloaded = useSession(localStorage)
  expect(reloaded.token.value).toBe('a.b.c')
  reloaded.end()
  expect(useSession(localStorage).token.value).toBeNull()
})

test('the reason of an end is told until the next login', () => {
  const session = useSession(localStorage)
  session.end('Your session has ended.')
  expect(session.notice.value).toBe('Your session has ended.')
  session.start('a.b.c')
  expect(session.notice.value).toBeNull()
})

test('a log-out in another tab is one in this tab', () => {
  const session = useSession(localStorage)
  session.start('a.b.c')
  localStorage.clear()
  window.dispatchEvent(new StorageEvent('storage', { key: null, storageArea: localStorage }))
  expect(session.token.value).toBeNull()
})
