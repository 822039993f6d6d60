import { flushPromises, mount } from '@vue/test-utils'
import { describe, expect, test } from 'vitest'
import { ApiError } from '../../src/api/client'
import { API } from '../../src/injection'
import LoginView from '../../src/views/LoginView.vue'
import { UNREACHABLE, anApi } from '../support'
import type { ApiForTest } from '../support'

describe('LoginView', () => {
  function mountLogin(api: ApiForTest, notice: string) {
    return mount(LoginView, { props: { notice }, global: { provide: { [API]: api } } })
  }

  async function logIn(answer: Promise<string>) {
    const api = anApi()
    api.login.mockReturnValueOnce(answer)
    const form = mountLogin(api, 'Your session has ended.')
    await form.get('[name=username]').setValue('ada')
    await form.get('[name=password]').setValue('secret words')
    await form.get('form').trigger('submit')
    await flushPromises()
    expect(api.login).toHaveBeenCalledWith('ada', 'secret words', null)
    return form
  }

  test('hands over the token', async () => {
    const form = await logIn(Promise.resolve('a.b.c'))
    expect(form.emitted('login')).toEqual([['a.b.c']])
    expect(form.find('[role=alert]').exists()).toBe(false)
  })

  test.each([
    ['a wrong password', new ApiError('whatever', 401), 'Wrong user name or password.'],
    [
      'too many attempts',
      new ApiError('whatever', 429, 37),
      'Too many attempts. Try again in 37 s.',
    ],
    [
      'too many attempts, for how long ever',
      new ApiError('whatever', 429),
      'Too many attempts. Try again in a minute.',
    ],
    ['an outage', UNREACHABLE, 'Fleetbeat cannot be reached.'],
  ])('explains %s', async (_, failure, message) => {
    const form = await logIn(Promise.reject(failure))
    expect(form.get('[role=alert]').text()).toBe(message)
    expect(form.emitted('login')).toBeUndefined()
    expect(form.get('button').text()).toBe('Log in')
  })

  test('asks for a code where the user has a second factor', async () => {
    const form = await logIn(Promise.reject(new ApiError('whatever', 401, null, true)))
    expect(form.find('[role=alert]').exists()).toBe(false)
    const api = form.vm.$.appContext.provides[API as symbol] as ApiForTest
    await form.get('[name=code]').setValue('123456')
    api.login.mockRejectedValueOnce(new ApiError('whatever', 401))
    await form.get('form').trigger('submit')
    await flushPromises()
    expect(api.login).toHaveBeenLastCalledWith('ada', 'secret words', '123456')
    expect(form.get('[role=alert]').text()).toContain('code')
  })

  test('tells why one is to log in again', () => {
    const form = mountLogin(anApi(), 'Your session has ended.')
    expect(form.get('[role=status]').text()).toBe('Your session has ended.')
  })
})
