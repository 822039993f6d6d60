import { expect, test, vi } from 'vitest'
import { effectScope } from 'vue'
import { useApiErrors } from '../../src/composables/useApiErrors'
import { UNREACHABLE } from '../support'

test('a bug of the page is shown without its details, which go to the console', () => {
  const logged = vi.spyOn(console, 'error').mockImplementation(() => undefined)
  const errorToShow = effectScope().run(() => useApiErrors(() => undefined))
  const bug = new TypeError('x is not a function')
  expect(errorToShow?.(bug)?.message).toBe('Something went wrong in this page. Reload it.')
  expect(logged).toHaveBeenCalledWith(bug)
})

test('nothing is shown after the end', () => {
  const scope = effectScope()
  const errorToShow = scope.run(() => useApiErrors(() => undefined))
  expect(errorToShow?.(UNREACHABLE)).toBe(UNREACHABLE)
  scope.stop()
  expect(errorToShow?.(UNREACHABLE)).toBeNull()
})
