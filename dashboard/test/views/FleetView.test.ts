import { mount } from '@vue/test-utils'
import type { VueWrapper } from '@vue/test-utils'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { ApiError } from '../../src/api/client'
import type { Server } from '../../src/api/wire'
import { REFRESH_MS } from '../../src/composables/usePolling'
import { API } from '../../src/injection'
import FleetView from '../../src/views/FleetView.vue'
import { ADMIN, UNREACHABLE, aServer, anApi, deferred } from '../support'
import type { ApiForTest } from '../support'

let mounted: VueWrapper | undefined
afterEach(() => {
  mounted?.unmount()
  mounted = undefined
})

describe('FleetView', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  async function open(api: ApiForTest) {
    const wrapper = mount(FleetView, { global: { provide: { [API]: api } } })
    mounted = wrapper
    await vi.advanceTimersByTimeAsync(0)
    return wrapper
  }

  test('shows who is logged in and how the fleet is', async () => {
    const servers = [aServer(), aServer({ ip: '1.2.3.5', status: 'down' })]
    const wrapper = await open(anApi(servers))
    expect(wrapper.get('.account').text()).toBe('adaadmin')
    expect(wrapper.get('.summary').text()).toBe('2 hosts1 active1 down')
    expect(document.title).toBe('(1 down) Fleetbeat')
    await wrapper.get('header button').trigger('click')
    expect(wrapper.emitted('logout')).toHaveLength(1)
  })

  test('says which hosts a user with a scope sees', async () => {
    const api = anApi()
    api.account.mockResolvedValueOnce({ ...ADMIN, scope: 'tag.customer = acme' })
    const wrapper = await open(api)
    expect(wrapper.get('.account').text()).toBe('adaadmintag.customer = acme')
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
    expect(wrapper.findAll('.server')).toHaveLength(1)
    await vi.advanceTimersByTimeAsync(REFRESH_MS)
    expect(wrapper.find('.outage').exists()).toBe(false)
  })

  test('an empty fleet is told, not shown as a table without rows', async () => {
    const wrapper = await open(anApi([]))
    const text = wrapper.get('.empty').text()
    expect(text).toContain('No host has been heard of yet')
    expect(text).toContain('Install fleetbeat-agent on a host')
    expect(text).toContain(new URL('.', document.baseURI).href.replace(/\/$/, ''))
    expect(wrapper.find('table').exists()).toBe(false)
  })

  test('leaves when the token is no longer good', async () => {
    const api = anApi()
    api.account.mockRejectedValueOnce(new ApiError('expired', 401))
    const wrapper = await open(api)
    expect(wrapper.emitted('unauthorized')).toHaveLength(1)
  })
})
