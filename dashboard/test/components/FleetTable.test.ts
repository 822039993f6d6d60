import { mount } from '@vue/test-utils'
import type { VueWrapper } from '@vue/test-utils'
import { describe, expect, test, vi } from 'vitest'
import { ref } from 'vue'
import { createMemoryHistory } from 'vue-router'
import type { Server } from '../../src/api/wire'
import FleetTable from '../../src/components/FleetTable.vue'
import { DEFAULT_SORTS } from '../../src/display/fleet'
import { USUAL_LAYOUT } from '../../src/display/table'
import type { Layout, Sort } from '../../src/display/table'
import { CLOCK, FLAG_EDITING, TRAFFIC_OF } from '../../src/injection'
import type { FlagEditing } from '../../src/injection'
import { makeRouter } from '../../src/router'
import { aServer, someTraffic } from '../support'

describe('FleetTable', () => {
  const setFlag = vi.fn<FlagEditing['setFlag']>()

  function table(servers: Server[], reason: string | null = null, layout: Layout = USUAL_LAYOUT) {
    setFlag.mockReset()
    const editing: FlagEditing = { lockedReason: ref(reason), isSaving: () => false, setFlag }
    const traffic = new Map([['srv-with-quota', someTraffic()]])
    const provide = {
      [CLOCK]: ref(Date.now()),
      [FLAG_EDITING]: editing,
      [TRAFFIC_OF]: ref(traffic),
    }
    const wrapper = mount(FleetTable, {
      props: {
        servers,
        layout,
        sorts: DEFAULT_SORTS,
        selected: new Set<string>(),
        'onUpdate:sorts': (sorts: readonly Sort[]) => void wrapper.setProps({ sorts }),
        'onUpdate:layout': (changed: Layout) => void wrapper.setProps({ layout: changed }),
        'onUpdate:selected': (selected: ReadonlySet<string>) => void wrapper.setProps({ selected }),
      },
      global: { provide, plugins: [makeRouter(createMemoryHistory())] },
      attachTo: document.body,
    })
    return wrapper
  }

  function rows(wrapper: VueWrapper) {
    return wrapper.findAll('.body > .row')
  }

  function hostnames(wrapper: VueWrapper) {
    return wrapper.findAll('.hostname').map((cell) => cell.text())
  }

  function named(name: string, changes: Partial<Server> = {}) {
    return aServer({ hostname: name, ip: name, server_id: name, ...changes })
  }

  test('shows a host with everything that is known of it', () => {
    const wrapper = table([
      aServer({ last_heartbeat: new Date(Date.now() - 90_000).toISOString() }),
    ])
    const text = wrapper.get('.body > .row').text()
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
      'ov not active',
      'wg active',
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

  test('shows how a host is to be used, until when and why', () => {
    const state = {
      mode: 'drain' as const,
      until: '2026-01-31T12:00:00Z',
      reason: 'new\u202ekernel',
      since: null,
    }
    const wrapper = table([named('a', { state })])
    expect(wrapper.get('.status').text()).toBe('draining')
    expect(wrapper.get('.status').attributes('title')).toMatch(
      /^draining until .*: new⟨U\+202E⟩kernel$/,
    )
  })

  test('shows a few services, those that do not run first, and how many more there are', () => {
    const services = ['a', 'b', 'c', 'd', 'e'].map((name) => ({ name, active: name !== 'e' }))
    const wrapper = table([aServer({ services })])
    expect(wrapper.findAll('.chip').map((chip) => chip.text())).toEqual([
      'e not active',
      'a active',
      '+33 more services',
    ])
  })

  test('shows what is used of a quota, where there is one', () => {
    const wrapper = table([aServer(), aServer({ ip: 'b', server_id: 'srv-with-quota' })])
    expect(rows(wrapper).map((row) => row.find('.traffic').exists())).toEqual([false, true])
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
    expect(flag.attributes('aria-describedby')).toBe('locked-reason')
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
    expect(wrapper.get('.head .column-static').attributes('title')).toBe(titles[4])
  })

  test('a host that is not enabled looks like one', () => {
    const wrapper = table([named('a'), named('b', { enabled: false })])
    expect(rows(wrapper).map((row) => row.classes('is-disabled'))).toEqual([false, true])
  })

  test('is sorted by a click on a header, which says so', async () => {
    const wrapper = table(['b', 'c', 'a'].map((name) => named(name)))
    const header = wrapper.get('.head .column-host')
    await header.get('button').trigger('click')
    expect(hostnames(wrapper)).toEqual(['a', 'b', 'c'])
    expect(header.attributes('aria-sort')).toBe('ascending')
    await header.get('button').trigger('click')
    expect(hostnames(wrapper)).toEqual(['c', 'b', 'a'])
    expect(header.attributes('aria-sort')).toBe('descending')
    expect(wrapper.findAll('[aria-sort]')).toHaveLength(1)
  })

  test('a click with Shift sorts by several columns', async () => {
    const wrapper = table([
      named('a', { city: 'Rome' }),
      named('b', { city: 'Oslo' }),
      named('c', { city: 'Oslo' }),
    ])
    await wrapper.get('.head .column-place button').trigger('click')
    await wrapper.get('.head .column-host button').trigger('click', { shiftKey: true })
    await wrapper.get('.head .column-host button').trigger('click', { shiftKey: true })
    expect(hostnames(wrapper)).toEqual(['c', 'b', 'a'])
    expect(
      wrapper
        .findAll('.sort-place')
        .map((place) => place.text())
        .join(''),
    ).toBe('21')
  })

  test('has the columns that are asked for, in that order, and their widths', async () => {
    const layout = { shown: ['version', 'host', 'ip'], widths: { host: 200 } }
    const wrapper = table([aServer()], null, layout)
    const keys = wrapper
      .findAll('.head-cell')
      .map((cell) => cell.classes().find((name) => name.startsWith('column-')))
    expect(keys).toEqual(['column-version', 'column-host', 'column-ip'])
    const handle = wrapper.get('.column-host .handle')
    expect(handle.attributes('aria-valuenow')).toBe('200')
    await handle.trigger('keydown', { key: 'ArrowRight' })
    expect(wrapper.emitted('update:layout')).toHaveLength(1)
  })

  test('rows are selected one by one, as a range, and all together', async () => {
    const wrapper = table(['a', 'b', 'c', 'd'].map((name) => named(name)))
    const selected = () => [...wrapper.props('selected')].sort().join('')
    const boxes = wrapper.findAll('.body input[type=checkbox]')
    await boxes[0]?.trigger('click')
    expect(selected()).toBe('a')
    await boxes[2]?.trigger('click', { shiftKey: true })
    expect(selected()).toBe('abc')
    await wrapper.get('.head input').trigger('change')
    expect(selected()).toBe('abcd')
    await wrapper.get('.head input').trigger('change')
    expect(selected()).toBe('')
  })

  test('the keyboard goes from row to row, and selects', async () => {
    const wrapper = table(['a', 'b', 'c'].map((name) => named(name)))
    const [first, second, third] = rows(wrapper)
    expect(rows(wrapper).map((row) => row.attributes('tabindex'))).toEqual(['0', '-1', '-1'])
    await first?.trigger('keydown', { key: 'ArrowDown' })
    await vi.waitFor(() => expect(document.activeElement).toBe(second?.element))
    await second?.trigger('keydown', { key: ' ' })
    expect([...wrapper.props('selected')]).toEqual(['b'])
    await second?.trigger('keydown', { key: 'End' })
    await vi.waitFor(() => expect(document.activeElement).toBe(third?.element))
  })

  test('keeps only rows near the viewport on the page when there are many', () => {
    const servers = Array.from({ length: 10_000 }, (_, index) => named(`vpn-${index}`))
    const wrapper = table(servers)
    // Without layout nothing is near; the browser tests scroll.
    expect(rows(wrapper).length).toBeLessThan(100)
    expect(wrapper.get('[role=table]').attributes('aria-rowcount')).toBe('10001')
  })
})
