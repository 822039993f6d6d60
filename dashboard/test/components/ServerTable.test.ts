import { mount } from '@vue/test-utils'
import type { VueWrapper } from '@vue/test-utils'
import { describe, expect, test, vi } from 'vitest'
import { ref } from 'vue'
import type { Server } from '../../src/api/wire'
import ServerTable from '../../src/components/ServerTable.vue'
import { CLOCK, FLAG_EDITING, TRAFFIC_OF } from '../../src/injection'
import type { FlagEditing } from '../../src/injection'
import { aServer, someTraffic } from '../support'

describe('ServerTable', () => {
  const setFlag = vi.fn<FlagEditing['setFlag']>()

  function table(servers: Server[], reason: string | null = null) {
    setFlag.mockReset()
    const editing: FlagEditing = { lockedReason: ref(reason), isSaving: () => false, setFlag }
    const traffic = new Map([['srv-with-quota', someTraffic()]])
    const provide = {
      [CLOCK]: ref(Date.now()),
      [FLAG_EDITING]: editing,
      [TRAFFIC_OF]: ref(traffic),
    }
    return mount(ServerTable, { props: { servers }, global: { provide } })
  }

  function hostnames(wrapper: VueWrapper) {
    return wrapper.findAll('.hostname').map((cell) => cell.text())
  }

  test('shows a host with everything that is known of it', () => {
    const wrapper = table([
      aServer({ last_heartbeat: new Date(Date.now() - 90_000).toISOString() }),
    ])
    const text = wrapper.get('.server').text()
    for (const part of [
      'active',
      'vpn-de-01',
      '1.2.3.4',
      'Munich, Germany',
      'DE',
      '23.5 %',
      '45.2 %',
      '–',
      '1 min ago',
    ]) {
      expect(text).toContain(part)
    }
    expect(wrapper.findAll('.chip').map((chip) => chip.text())).toEqual([
      'wg active',
      'ov not active',
    ])
    const switches = wrapper
      .findAll('[role=switch]')
      .map((flag) => [flag.attributes('aria-label'), flag.attributes('aria-checked')])
    expect(switches).toEqual([
      ['Gaming: vpn-de-01', 'false'],
      ['Streaming: vpn-de-01', 'true'],
      ['Paid: vpn-de-01', 'false'],
      ['Enabled: vpn-de-01', 'true'],
      ['Static: vpn-de-01', 'false'],
    ])
  })

  test('shows what is used of a quota, where there is one', () => {
    const wrapper = table([aServer(), aServer({ ip: 'b', server_id: 'srv-with-quota' })])
    const rows = wrapper.findAll('.server').map((row) => row.find('.traffic').exists())
    expect(rows).toEqual([false, true])
  })

  test('a click on a switch asks for the opposite', async () => {
    const server = aServer()
    const wrapper = table([server])
    await wrapper.get('[aria-label="Streaming: vpn-de-01"]').trigger('click')
    expect(setFlag.mock.calls).toEqual([[server, 'streaming', false]])
  })

  test('switches that may not be used are disabled, with the reason', async () => {
    const wrapper = table([aServer()], 'Your role is readonly.')
    const flag = wrapper.get('[role=switch]')
    expect(flag.attributes('disabled')).toBeDefined()
    expect(flag.attributes('title')).toMatch(/^A label of yours.*\. Your role is readonly\.$/)
    expect(wrapper.get(`#${String(flag.attributes('aria-describedby'))}`).text()).toBe(
      'Your role is readonly.',
    )
    await flag.trigger('click')
    expect(setFlag).not.toHaveBeenCalled()
  })

  test('says what each flag does', () => {
    const wrapper = table([aServer()])
    const titles = wrapper.findAll('[role=switch]').map((flag) => flag.attributes('title') ?? '')
    const expected = [
      /apps filter/,
      /apps filter/,
      /apps filter/,
      /no longer lists/,
      /never deleted/,
    ]
    expected.forEach((meaning, index) => {
      expect(titles[index]).toMatch(meaning)
    })
    expect(wrapper.get('th.column-static').attributes('title')).toBe(titles[4])
  })

  test('a host that is not enabled looks like one', () => {
    const wrapper = table([aServer({ ip: 'a' }), aServer({ ip: 'b', enabled: false })])
    const disabled = wrapper.findAll('.server').map((row) => row.classes('is-disabled'))
    expect(disabled).toEqual([false, true])
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

  test('shows what a selector means, and says what is wrong with one', async () => {
    const wrapper = table([aServer(), aServer({ hostname: 'vpn-jp-01', countryCode: 'JP' })])
    const filter = wrapper.get<HTMLInputElement>('input[type=search]')
    await filter.setValue('country = jp and load.cpu > 20')
    expect(hostnames(wrapper)).toEqual(['vpn-jp-01'])
    expect(wrapper.get('[role=status]').text()).toBe('1 selected')
    await filter.setValue('country = jp and')
    expect(wrapper.get('.empty').text()).toContain(
      'As a selector: at character 17: a condition is missing at the end.',
    )
  })

  test('keeps only rows near the viewport on the page when there are many', () => {
    const servers = Array.from({ length: 10_000 }, (_, index) =>
      aServer({ ip: `10.0.${index >> 8}.${index & 255}` }),
    )
    const wrapper = table(servers)
    // Without layout nothing is near; the browser tests scroll.
    expect(wrapper.findAll('.server').length).toBeLessThan(100)
    expect(wrapper.get('table').attributes('aria-rowcount')).toBe('10001')
  })
})
