/** Both languages have the same texts, and no view has a text of its own. */

import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { NodeTypes, parse } from '@vue/compiler-dom'
import type { TemplateChildNode, RootNode } from '@vue/compiler-dom'
import { language, setLanguage, showNumber, t, wantedLanguage } from '../../src/i18n'
import { de } from '../../src/i18n/de'
import { en } from '../../src/i18n/en'

/** The texts by their keys. */
function flat(messages: object, prefix = ''): Map<string, string> {
  return new Map(
    Object.entries(messages).flatMap(([name, value]: [string, unknown]) =>
      typeof value === 'string'
        ? [[prefix + name, value] as const]
        : [...flat(value as object, `${prefix}${name}.`)],
    ),
  )
}

describe('the languages', () => {
  const english = flat(en)
  const german = flat(de)

  test('have the same texts', () => {
    expect([...german.keys()].sort()).toEqual([...english.keys()].sort())
  })

  test.each([...english.keys()])('have the same places in %s', (key) => {
    const placesOf = (text = '') => [...new Set(text.match(/\{\w+\}/g))].sort()
    const formsOf = (text = '') => text.split('|').length
    expect(placesOf(german.get(key))).toEqual(placesOf(english.get(key)))
    expect(formsOf(german.get(key))).toBe(formsOf(english.get(key)))
  })

  test.each([...english, ...german])('can be shown: %s', (_, text) => {
    // Outside of places, these are signs of vue-i18n's language.
    expect(text.replaceAll(/\{\w+\}/g, '')).not.toMatch(/[@{}]/)
    expect(text).not.toBe('')
  })
})

describe('the language', () => {
  afterEach(async () => {
    await setLanguage('en')
    localStorage.clear()
  })

  test('changes all texts, and how numbers are written', async () => {
    expect([t('common.cancel'), showNumber(1234.5)]).toEqual(['Cancel', '1,234.5'])
    await setLanguage('de')
    expect([t('common.cancel'), showNumber(1234.5)]).toEqual(['Abbrechen', '1.234,5'])
    expect(language()).toBe('de')
    expect(document.documentElement.lang).toBe('de')
  })

  test('chooses between one and many', () => {
    expect(t('fleet.count', { count: 1 })).toBe('host')
    expect(t('fleet.count', { count: 0 })).toBe('hosts')
    expect(t('bulk.apply', { count: 1234 })).toBe('Change 1,234 hosts')
  })

  test('is what the user has chosen, or the first of the browser’s that is there', () => {
    expect(wantedLanguage(localStorage, ['fr-FR', 'de-AT', 'en'])).toBe('de')
    expect(wantedLanguage(localStorage, ['fr'])).toBe('en')
    localStorage.setItem('fleetbeat.language', 'de')
    expect(wantedLanguage(localStorage, ['en'])).toBe('de')
    localStorage.setItem('fleetbeat.language', 'tlh')
    expect(wantedLanguage(localStorage, ['en'])).toBe('en')
  })
})

const SOURCES = join(import.meta.dirname, '../../src')
const VIEWS = readdirSync(SOURCES, { recursive: true, encoding: 'utf8' }).filter((name) =>
  name.endsWith('.vue'),
)
/** Attributes that people see or hear. */
const SEEN = ['title', 'aria-label', 'placeholder', 'alt', 'label', 'hint', 'description']
const LETTERS = /\p{L}/u

/** The texts that stand in the template itself. */
function literalsOf(node: RootNode | TemplateChildNode): string[] {
  if (node.type === NodeTypes.TEXT) return LETTERS.test(node.content) ? [node.content.trim()] : []
  if (node.type !== NodeTypes.ELEMENT && node.type !== NodeTypes.ROOT) return []

  const own =
    node.type === NodeTypes.ROOT
      ? []
      : node.props.flatMap((prop) =>
          prop.type === NodeTypes.ATTRIBUTE && SEEN.includes(prop.name)
            ? [prop.value?.content ?? ''].filter((text) => LETTERS.test(text))
            : [],
        )
  return [...own, ...node.children.flatMap(literalsOf)]
}

test.each(VIEWS)('%s takes its texts from the languages', (name) => {
  const source = readFileSync(join(SOURCES, name), 'utf8')
  const template = /<template>[\s\S]*<\/template>/.exec(source)?.[0] ?? ''
  expect(literalsOf(parse(template))).toEqual([])
})
