import { mount } from '@vue/test-utils'
import type { VueWrapper } from '@vue/test-utils'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { ApiError } from '../../src/api/client'
import type { Server } from '../../src/api/wire'
import { REFRESH_MS } from '../../src/composables/usePolling'
import { API } from '../../src/injection'
import AppShell from '../../src/layout/AppShell.vue'
// Pages are loaded when somebody opens them, and no test is to wait for that.
import '../../src/views/FleetView.vue'
import { ADMIN, UNREACHABLE, aRouter, aServer, anApi, deferred } from '../support'
import type { ApiForTest } from '../support'

let mounted: VueWrapper | undefined
afterEach(() => {
  mounted?.unmount()
  mounted = undefined
  localStorage.clear()
})

describe('AppShell', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  async function open(api: ApiForTest, path = '/fleet') {
    const router = await aRouter(path)
    const wrapper = mount(AppShell, {
      props: { theme: 'system' },
      global: { provide: { [API]: api }, plugins: [router] },
      attachTo: document.body,
    })
    mounted = wrapper
    await vi.advanceTimersByTimeAsync(0)
    return wrapper
  }

  async function choose(wrapper: VueWrapper, label: string) {
    await wrapper.get('header [aria-label=Account]').trigger('click')
    await vi.advanceTimersByTimeAsync(0)
    const items = [...document.querySelectorAll<HTMLElement>('[role^=menuitem]')]
    items.find((item) => item.textContent.trim() === label)?.click()
    await vi.advanceTimersByTimeAsync(0)
  }

  test('shows who is logged in and how the fleet is', async () => {
    const servers = [aServer(), aServer({ ip: '1.2.3.5', server_id: 'srv-2', status: 'down' })]
    const wrapper = await open(anApi(servers))
    expect(wrapper.get('.account').text()).toBe('adaadmin')
    expect(wrapper.findAll('.tile').map((tile) => tile.text())).toEqual([
      '2 hosts',
      '0 active',
      '1 draining',
      '1 down',
      '0 firing alerts',
    ])
    expect(document.title).toBe('(1 down) Fleetbeat')
    await choose(wrapper, 'Log out')
    expect(wrapper.emitted('logout')).toHaveLength(1)
  })

  test('says which hosts a user with a scope sees, and asks for nothing of the whole fleet', async () => {
    const api = anApi()
    api.account.mockResolvedValueOnce({ ...ADMIN, scope: 'tag.customer = acme' })
    const wrapper = await open(api)
    expect(wrapper.get('.account').text()).toBe('adaadmintag.customer = acme')
    expect(api.alerts).not.toHaveBeenCalled()
    expect(wrapper.get('.summary').text()).not.toContain('alerts')
  })

  test('locks the switches of readonly users', async () => {
    const api = anApi()
    api.account.mockResolvedValueOnce({ ...ADMIN, role: 'readonly' })
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
    expect(wrapper.get('.toast [role=alert]').text()).toContain(
      '“gaming” of vpn-de-01 was not changed',
    )
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
    expect(wrapper.findAll('.body > .row')).toHaveLength(1)
    await wrapper.get('.outage button').trigger('click')
    await vi.advanceTimersByTimeAsync(0)
    expect(wrapper.find('.outage').exists()).toBe(false)
  })

  test('an empty fleet is told, not shown as a table without rows', async () => {
    const wrapper = await open(anApi([]))
    const text = wrapper.get('.empty').text()
    expect(text).toContain('No host has been heard of yet')
    expect(text).toContain('Install fleetbeat-agent on a host')
    expect(text).toContain(new URL('.', document.baseURI).href.replace(/\/$/, ''))
    expect(wrapper.find('[role=table]').exists()).toBe(false)
  })

  test('shows what the filter finds, and offers to clear it when that is nothing', async () => {
    const other = aServer({ hostname: 'vpn-jp-01', ip: '2001:db8::7', server_id: 'srv-2' })
    const wrapper = await open(anApi([aServer(), other]))
    const filter = wrapper.get<HTMLInputElement>('[data-search]')
    const hostnames = () => wrapper.findAll('.hostname').map((cell) => cell.text())
    await filter.setValue('2001:db8')
    expect(hostnames()).toEqual(['vpn-jp-01'])
    expect(wrapper.get('.found').text()).toBe('1 shown')
    await filter.setValue('atlantis')
    expect(wrapper.get('.empty').text()).toContain('atlantis')
    await wrapper.get('.empty button').trigger('click')
    expect(hostnames()).toHaveLength(2)
  })

  test('shows what a selector means, and says what is wrong with one', async () => {
    const other = aServer({ hostname: 'vpn-jp-01', countryCode: 'JP', server_id: 'srv-2' })
    const wrapper = await open(anApi([aServer(), other]), '/fleet?q=country+%3D+jp')
    expect(wrapper.findAll('.hostname').map((cell) => cell.text())).toEqual(['vpn-jp-01'])
    expect(wrapper.get('.found').text()).toBe('1 selected')
    await wrapper.get('[data-search]').setValue('country = jp and')
    expect(wrapper.text()).toContain(
      'As a selector: at character 17: a condition is missing at the end.',
    )
  })

  test('a number of the summary shows the hosts behind it', async () => {
    const other = aServer({ hostname: 'b', ip: 'b', server_id: 'b', status: 'down' })
    const wrapper = await open(anApi([aServer(), other]))
    await wrapper.findAll('button.tile').at(-1)?.trigger('click')
    expect(wrapper.findAll('.hostname').map((cell) => cell.text())).toEqual(['b'])
    await wrapper.get('button.tile').trigger('click')
    expect(wrapper.findAll('.hostname')).toHaveLength(2)
  })

  test('leaves when the token is no longer good', async () => {
    const api = anApi()
    api.account.mockRejectedValueOnce(new ApiError('expired', 401))
    const wrapper = await open(api)
    expect(wrapper.emitted('unauthorized')).toHaveLength(1)
  })

  test('tells of a path without a page', async () => {
    const wrapper = await open(anApi(), '/atlantis')
    await vi.dynamicImportSettled()
    await vi.advanceTimersByTimeAsync(0)
    expect(wrapper.get('main').text()).toContain('There is no such page.')
  })

  test('the theme is chosen in the menu', async () => {
    const wrapper = await open(anApi())
    await choose(wrapper, 'Dark')
    expect(wrapper.emitted('theme')).toEqual([['dark']])
  })

  test('keys open the search and the list of keys, unless somebody types', async () => {
    const wrapper = await open(anApi())
    const press = (key: string, target: Element = document.body) =>
      target.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }))
    press('/')
    const search = wrapper.get('[data-search]').element
    expect(document.activeElement).toBe(search)
    press('?', search)
    await vi.advanceTimersByTimeAsync(0)
    expect(document.querySelector('[role=dialog]')).toBeNull()
    press('?')
    await vi.advanceTimersByTimeAsync(0)
    expect(document.querySelector('[role=dialog]')?.textContent).toContain('Go to Fleet')
  })
})
