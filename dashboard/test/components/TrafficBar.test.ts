import { mount } from '@vue/test-utils'
import { describe, expect, test } from 'vitest'
import type { HostTraffic } from '../../src/api/wire'
import TrafficBar from '../../src/components/TrafficBar.vue'
import { someTraffic } from '../support'

describe('TrafficBar', () => {
  function bar(changes: Partial<HostTraffic> = {}) {
    return mount(TrafficBar, { props: { traffic: someTraffic(changes) } })
  }

  function width(wrapper: ReturnType<typeof bar>, part: string) {
    return wrapper.get<HTMLElement>(part).element.style.width
  }

  test('shows what is used of the quota, and what is to be expected', () => {
    const wrapper = bar()
    expect(wrapper.text()).toBe('500 GB of 1.0 TB')
    expect([width(wrapper, '.used'), width(wrapper, '.forecast')]).toEqual(['50%', '90%'])
    expect(wrapper.get('.traffic').attributes('title')).toBe(
      'Traffic from 2026-11-01 to 2026-12-01; 900 GB expected at the end',
    )
    expect(wrapper.classes()).toContain('is-fine')
  })

  test('warns of a quota that is used up, or will be', () => {
    expect(bar({ forecast_bytes: 2e12 }).classes()).toContain('will-be-over')
    const over = bar({ used_bytes: 3e12, forecast_bytes: null, over_quota: true })
    expect(over.classes()).toContain('is-over')
    expect(width(over, '.used')).toBe('100%')
    expect(bar({ quota_bytes: 0, over_quota: true }).text()).toBe('500 GB of 0 B')
  })

  test('says what is not known, which is not zero', () => {
    const wrapper = bar({ used_bytes: null, forecast_bytes: null, complete: false, days_left: 3 })
    expect(wrapper.text()).toBe('unknown of 1.0 TB')
    expect(width(wrapper, '.used')).toBe('0%')
    expect(wrapper.get('.traffic').attributes('title')).toContain(
      'not all of the cycle is known; paid for 3 more days',
    )
  })
})
