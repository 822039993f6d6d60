import { mount } from '@vue/test-utils'
import { describe, expect, test } from 'vitest'
import LoadBar from '../../src/components/LoadBar.vue'

describe('LoadBar', () => {
  test('shows a number and a bar of that width', () => {
    const bar = mount(LoadBar, { props: { percent: 23.45 } })
    expect(bar.text()).toBe('23.5 %')
    expect(bar.get<HTMLElement>('.load-bar > span').element.style.width).toBe('23.45%')
  })

  test('says that nothing was measured, which is not zero', () => {
    const bar = mount(LoadBar, { props: { percent: null } })
    expect(bar.text()).toContain('–')
    expect(bar.get('[title]').attributes('title')).toBe('Not measured')
    expect(bar.find('.load-bar').exists()).toBe(false)
    expect(mount(LoadBar, { props: { percent: 0 } }).text()).toBe('0.0 %')
  })

  test('says of what the most is used', () => {
    const bar = mount(LoadBar, { props: { percent: 91, reason: 'clients' } })
    expect(bar.get('.load').attributes('title')).toBe('The most is used of: clients')
  })
})
