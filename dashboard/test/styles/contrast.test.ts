/** Texts can be read on their backgrounds, in both themes (WCAG 2, AA). */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'

const css = readFileSync(join(import.meta.dirname, '../../src/styles/base.css'), 'utf8')

function colorsOf(theme: 'light' | 'dark'): Map<string, string> {
  const block = new RegExp(`data-theme='${theme}'\\][^{]*\\{([^}]*)\\}`).exec(css)?.[1] ?? ''
  const found = [...block.matchAll(/--([\w-]+): (#[0-9a-f]{6});/g)]
  return new Map(found.map(([, name = '', value = '']) => [name, value]))
}

function luminance(color: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(color.slice(at, at + 2), 16) / 255
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue
}

function contrast(one: string, other: string): number {
  const [dark = 0, light = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b)
  return (light + 0.05) / (dark + 0.05)
}

const TONES = ['good', 'warn', 'bad', 'info', 'accent'] as const
/** What is read, and on what. */
const TEXTS = [
  ...['page', 'surface', 'surface-raised', 'flash'].flatMap((back) => [['text', back] as const]),
  ...['page', 'surface', 'surface-raised'].map((back) => ['text-soft', back] as const),
  ...TONES.flatMap((tone) => [
    [tone, `${tone}-back`] as const,
    [tone, 'surface'] as const,
    [tone, 'page'] as const,
  ]),
  ['on-accent', 'accent'] as const,
  ['surface', 'bad'] as const,
]

describe.each(['light', 'dark'] as const)('the %s theme', (theme) => {
  const colors = colorsOf(theme)
  const colorOf = (name: string) => {
    const color = colors.get(name)
    if (color === undefined) throw new Error(`there is no color ${name}`)
    return color
  }

  test.each(TEXTS)('%s can be read on %s', (text, back) => {
    expect(contrast(colorOf(text), colorOf(back))).toBeGreaterThanOrEqual(4.5)
  })

  test.each(['surface', 'page'])('the edge of a control is seen on %s', (back) => {
    expect(contrast(colorOf('control'), colorOf(back))).toBeGreaterThanOrEqual(3)
  })
})

test('both themes have the same colors', () => {
  expect([...colorsOf('dark').keys()]).toEqual([...colorsOf('light').keys()])
})
