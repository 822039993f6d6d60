import { describe, expect, test, vi } from 'vitest'
import type { Rule, RuleForm } from '../../src/api/alerts'
import { createApi } from '../../src/api/client'
import { anAlert } from '../support'

function answering(body: unknown, status = 200) {
  const fetch = vi.fn<typeof window.fetch>(
    async () => new Response(status === 204 ? null : JSON.stringify(body), { status }),
  )
  return { api: createApi(() => 'token', fetch), fetch }
}

const form: RuleForm = { name: 'Busy', severity: 'info', when: 'load', load: 'cpu', above: 90 }
const rule: Rule = {
  ...form,
  id: 'rul-1',
  version: 7,
  enabled: true,
  where: 'all',
  channels: [],
  warnings: [],
}

describe('a rule', () => {
  test('that is new is made', async () => {
    const { api, fetch } = answering(rule)
    await expect(api.saveRule(form, null)).resolves.toEqual(rule)
    const [path, init] = fetch.mock.calls[0] ?? []
    expect([path, init?.method]).toEqual(['alert-rules', 'POST'])
  })

  test('is replaced only in the version that was changed', async () => {
    const { api, fetch } = answering({ ...rule, version: 8 })
    await api.saveRule(form, rule)
    const [path, init] = fetch.mock.calls[0] ?? []
    expect([path, init?.method]).toEqual(['alert-rules/rul-1', 'PUT'])
    expect(init?.headers).toMatchObject({ 'If-Match': '"7"', Authorization: 'Bearer token' })
  })
})

describe('an alert', () => {
  test.each([
    ['of a host', anAlert()],
    [
      'of a group',
      anAlert({ subject: { group: [['country', 'DE']] }, held_by: { mute: 'mut-1' } }),
    ],
    ['of the server', anAlert({ subject: 'server', held_by: 'silence' })],
    ['of an older server', anAlert({ subject: undefined, group: undefined })],
  ])('%s is understood', async (_, alert) => {
    const { api } = answering({ alerts: [alert], next: null })
    await expect(api.alerts({})).resolves.toMatchObject({ alerts: [{ id: 'alr-1' }] })
  })

  test('of a shape that the page does not know is refused', async () => {
    const { api } = answering({
      alerts: [{ ...anAlert(), subject: { planet: 'Mars' } }],
      next: null,
    })
    await expect(api.alerts({})).rejects.toThrow('could not be understood')
  })

  test('is given back', async () => {
    const { api, fetch } = answering(null, 204)
    await api.giveBack('alr-1')
    expect(fetch.mock.calls[0]?.[0]).toBe('alerts/alr-1/ack')
  })
})
