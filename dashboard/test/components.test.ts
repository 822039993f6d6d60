import { flushPromises, mount } from '@vue/test-utils'
import type { VueWrapper } from '@vue/test-utils'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { ApiError } from '../src/api'
import FleetView from '../src/components/FleetView.vue'
import LoadBar from '../src/components/LoadBar.vue'
import LoginForm from '../src/components/LoginForm.vue'
import ServerTable from '../src/components/ServerTable.vue'
import { REFRESH_MS } from '../src/fleet'
import type { Server } from '../src/wire'
import { UNREACHABLE, aServer, anApi, deferred } from './support'

let mounted: VueWrapper | undefined
afterEach(() => {
  mounted?.unmount()
  mounted = undefined
})

describe('LoadBar', () => {
  test('shows a number and a bar of that width', () => {
    const bar = mount(LoadBar, { props: { percent: 23.45 } })
    expect(bar.text()).toBe('23.4 %')
    expect(bar.get<HTMLElement>('.load-bar > span').element.style.width).toBe('23.45%')
  })

  test('says that nothing was measured, which is not zero', () => {
    const bar = mount(LoadBar, { props: { percent: null } })
    expect(bar.text()).toContain('–')
    expect(bar.get('[title]').attributes('title')).toBe('Not measured')
    expect(bar.find('.load-bar').exists()).toBe(false)
    expect(mount(LoadBar, { props: { percent: 0 } }).text()).toBe('0.0 %')
  })
})

describe('LoginForm', () => {
  async function logIn(answer: Promise<string>) {
    const api = anApi()
    api.login.mockReturnValueOnce(answer)
    const form = mount(LoginForm, { props: { api, notice: 'Your session has ended.' } })
    await form.get('[name=username]').setValue('ada')
    await form.get('[name=password]').setValue('secret words')
    await form.get('form').trigger('submit')
    await flushPromises()
    expect(api.login).toHaveBeenCalledWith('ada', 'secret words')
    return form
  }

  test('hands over the token', async () => {
    const form = await logIn(Promise.resolve('a.b.c'))
    expect(form.emitted('login')).toEqual([['a.b.c']])
    expect(form.find('[role=alert]').exists()).toBe(false)
  })

  test.each([
    ['a wrong password', new ApiError('whatever', 401), 'Wrong user name or password.'],
    ['too many attempts', new ApiError('whatever', 429, 37), 'Too many attempts. Try again in 37 s.'],
    ['too many attempts, for how long ever', new ApiError('whatever', 429), 'Too many attempts. Try again in a minute.'],
    ['an outage', UNREACHABLE, 'Fleetbeat cannot be reached.'],
  ])('explains %s', async (_, failure, message) => {
    const form = await logIn(Promise.reject(failure))
    expect(form.get('[role=alert]').text()).toBe(message)
    expect(form.emitted('login')).toBeUndefined()
    expect(form.get('button').text()).toBe('Log in')
  })

  test('tells why one is to log in again', () => {
    const form = mount(LoginForm, { props: { api: anApi(), notice: 'Your session has ended.' } })
    expect(form.get('[role=status]').text()).toBe('Your session has ended.')
  })
})

describe('ServerTable', () => {
  function table(servers: Server[], lockedReason: string | null = null) {
    return mount(ServerTable, { props: { servers, clock: Date.now(), lockedReason, isSaving: () => false } })
  }

  function hostnames(wrapper: VueWrapper) {
    return wrapper.findAll('.hostname').map((cell) => cell.text())
  }

  test('shows a server with everything that is known of it', () => {
    const wrapper = table([aServer({ last_heartbeat: new Date(Date.now() - 90_000).toISOString() })])
    const text = wrapper.get('.server').text()
    for (const part of ['active', 'vpn-de-01', '1.2.3.4', 'Munich, Germany', 'DE', '23.5 %', '45.2 %', '–', '1 min ago']) {
      expect(text).toContain(part)
    }
    expect(wrapper.findAll('.chip').map((chip) => chip.text())).toEqual(['wg active', 'ov not active'])
    const switches = wrapper.findAll('[role=switch]').map((flag) => [flag.attributes('aria-label'), flag.attributes('aria-checked')])
    expect(switches).toEqual([
      ['Gaming: vpn-de-01', 'false'],
      ['Streaming: vpn-de-01', 'true'],
      ['Paid: vpn-de-01', 'false'],
      ['Enabled: vpn-de-01', 'true'],
      ['Static: vpn-de-01', 'false'],
    ])
  })

  test('a click on a switch asks for the opposite', async () => {
    const server = aServer()
    const wrapper = table([server])
    await wrapper.get('[aria-label="Streaming: vpn-de-01"]').trigger('click')
    expect(wrapper.emitted('setFlag')).toEqual([[server, 'streaming', false]])
  })

  test('switches that may not be used are disabled, with the reason', async () => {
    const wrapper = table([aServer()], 'Your role is readonly.')
    const flag = wrapper.get('[role=switch]')
    expect(flag.attributes('disabled')).toBeDefined()
    expect(flag.attributes('title')).toBe('Your role is readonly.')
    expect(wrapper.get(`#${flag.attributes('aria-describedby')}`).text()).toBe('Your role is readonly.')
    await flag.trigger('click')
    expect(wrapper.emitted('setFlag')).toBeUndefined()
  })

  test('is sorted by a click on a header, which says so', async () => {
    const servers = ['b', 'c', 'a'].map((name) => aServer({ hostname: name, ip: name }))
    const wrapper = table(servers)
    const header = wrapper.get('th.column-host')
    await header.get('button').trigger('click')
    expect(hostnames(wrapper)).toEqual(['a', 'b', 'c'])
    expect(header.attributes('aria-sort')).toBe('ascending')
    await header.get('button').trigger('click')
    expect(hostnames(wrapper)).toEqual(['c', 'b', 'a'])
    expect(header.attributes('aria-sort')).toBe('descending')
    expect(wrapper.findAll('[aria-sort]')).toHaveLength(1)
  })

  test('shows what the filter finds, and offers to clear it when that is nothing', async () => {
    const wrapper = table([aServer(), aServer({ hostname: 'vpn-jp-01', ip: '2001:db8::7' })])
    const filter = wrapper.get<HTMLInputElement>('input[type=search]')
    await filter.setValue('2001:db8')
    expect(hostnames(wrapper)).toEqual(['vpn-jp-01'])
    expect(wrapper.get('[role=status]').text()).toBe('1 shown')
    await filter.setValue('atlantis')
    expect(wrapper.get('.empty').text()).toContain('atlantis')
    await wrapper.get('.empty button').trigger('click')
    expect(hostnames(wrapper)).toHaveLength(2)
  })

  test('keeps only rows near the viewport on the page when there are many', () => {
    const servers = Array.from({ length: 10_000 }, (_, index) => aServer({ ip: `10.0.${index >> 8}.${index & 255}` }))
    const wrapper = table(servers)
    // Without layout nothing is near; the browser tests scroll.
    expect(wrapper.findAll('.server').length).toBeLessThan(100)
    expect(wrapper.get('table').attributes('aria-rowcount')).toBe('10001')
  })
})

describe('FleetView', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  async function open(api: ReturnType<typeof anApi>) {
    const wrapper = mount(FleetView, { props: { api } })
    mounted = wrapper
    await vi.advanceTimersByTimeAsync(0)
    return wrapper
  }

  test('shows who is logged in and how the fleet is', async () => {
    const servers = [aServer(), aServer({ ip: '1.2.3.5', status: 'down' })]
    const wrapper = await open(anApi(servers))
    expect(wrapper.get('.account').text()).toBe('adaadmin')
    expect(wrapper.get('.summary').text()).toBe('2 servers1 active1 down')
    expect(document.title).toBe('(1 down) Fleetbeat')
    await wrapper.get('header button').trigger('click')
    expect(wrapper.emitted('logout')).toHaveLength(1)
  })

  test('locks the switches of readonly users', async () => {
    const api = anApi()
    api.account.mockResolvedValueOnce({ username: 'rita', role: 'readonly' })
    const wrapper = await open(api)
    expect(wrapper.findAll('[role=switch]:not([disabled])')).toHaveLength(0)
    expect(wrapper.get('#locked-reason').text()).toContain('readonly')
  })

  test('rolls a switch back when saving fails, and says so until dismissed', async () => {
    const api = anApi()
    const saved = deferred<Server>()
    api.setFlags.mockReturnValueOnce(saved.promise)
    const wrapper = await open(api)
    const gaming = wrapper.get('[aria-label="Gaming: vpn-de-01"]')
    await gaming.trigger('click')
    expect(gaming.attributes()).toMatchObject({ 'aria-checked': 'true', 'aria-busy': 'true' })
    saved.reject(UNREACHABLE)
    await vi.advanceTimersByTimeAsync(0)
    expect(gaming.attributes()).toMatchObject({ 'aria-checked': 'false', 'aria-busy': 'false' })
    expect(wrapper.get('.toast [role=alert]').text()).toContain('“gaming” of vpn-de-01 was not changed')
    await wrapper.get('.toast button').trigger('click')
    expect(wrapper.find('.toast').exists()).toBe(false)
  })

  test('keeps the table during an outage under a banner with its age', async () => {
    const api = anApi()
    const wrapper = await open(api)
    api.servers.mockRejectedValueOnce(UNREACHABLE).mockRejectedValueOnce(UNREACHABLE)
    await vi.advanceTimersByTimeAsync(2 * REFRESH_MS)
    expect(wrapper.get('.outage [role=alert]').text()).toBe('Fleetbeat cannot be reached.')
    expect(wrapper.get('.outage').text()).toContain('Last update: 10 s ago.')
    expect(wrapper.findAll('.server')).toHaveLength(1)
    await vi.advanceTimersByTimeAsync(REFRESH_MS)
    expect(wrapper.find('.outage').exists()).toBe(false)
  })

  test('an empty fleet is told, not shown as a table without rows', async () => {
    const wrapper = await open(anApi([]))
    expect(wrapper.get('.empty').text()).toContain('No server has been heard of yet')
    expect(wrapper.find('table').exists()).toBe(false)
  })

  test('leaves when the token is no longer good', async () => {
    const api = anApi()
    api.account.mockRejectedValueOnce(new ApiError('expired', 401))
    const wrapper = await open(api)
    expect(wrapper.emitted('unauthorized')).toHaveLength(1)
  })
})
