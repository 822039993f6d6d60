import { describe, expect, it } from 'vitest'
import { visible } from '../../src/display/text'

describe('a text of a host', () => {
  it.each([
    ['vpn-de-01', 'vpn-de-01'],
    ['München 王 🇩🇪', 'München 王 🇩🇪'],
    ['مرحبا', 'مرحبا'],
    ['admin\u202enimda', 'admin⟨U+202E⟩nimda'],
    ['a\u2066b\u2069', 'a⟨U+2066⟩b⟨U+2069⟩'],
    ['a\u200bb', 'a⟨U+200B⟩b'],
    ['a\u0000\u001b[2J\n', 'a⟨U+0000⟩⟨U+001B⟩[2J⟨U+000A⟩'],
    ['a\u2028b', 'a⟨U+2028⟩b'],
  ])('shows what cannot be seen: %j', (text, shown) => {
    expect(visible(text)).toBe(shown)
  })
})
