/**
 * The texts of the page, in the language that the user has chosen.
 *
 * English comes with the page, and is what stands in for a text that another language
 * lacks. Another language is loaded when somebody asks for it. `t` reads the language
 * from reactive state: templates and computed values that call `t` change with it.
 */

import { createI18n } from 'vue-i18n'
import { en } from './en'

/** A set of texts: those of English, with other words. */
export type Messages = Texts<typeof en>
type Texts<T> = { [K in keyof T]: T[K] extends string ? string : Texts<T[K]> }

/** The name of a text: the path to it, with dots. */
export type MessageKey = Leaves<typeof en>
type Leaves<T> = {
  [K in keyof T & string]: T[K] extends string ? K : `${K}.${Leaves<T[K]>}`
}[keyof T & string]

/** The languages, each by its own name. */
export const LANGUAGES = { en: 'English', de: 'Deutsch' } as const
/** A language of the page. */
export type Language = keyof typeof LANGUAGES

const LANGUAGE_KEY = 'fleetbeat.language'

const LOADERS: Record<Exclude<Language, 'en'>, () => Promise<Messages>> = {
  de: async () => (await import('./de')).de,
}

// The types of vue-i18n would repeat all texts. Those of `t` are ours.
const i18n = createI18n({
  legacy: false,
  locale: 'en',
  fallbackLocale: 'en',
  messages: { en: en as Record<string, unknown> } as never,
})
/** What of vue-i18n's composer the page uses. */
interface Composer {
  locale: { value: string }
  t: (key: string, named: Record<string, unknown>, plural?: number) => string
  setLocaleMessage: (locale: string, messages: Messages) => void
}
const composer = i18n.global as unknown as Composer

/**
 * The text, with the values in its `{places}`. Numbers are written as the language writes
 * numbers. The number `count` chooses between the forms that stand between bars: one, and
 * any other number.
 */
export function t(key: MessageKey, values: Readonly<Record<string, string | number>> = {}): string {
  const shown = Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name,
      typeof value === 'number' ? showNumber(value) : value,
    ]),
  )
  const { count } = values
  return typeof count === 'number' ? composer.t(key, shown, count) : composer.t(key, shown)
}

/** The language that the page is in. */
export function language(): Language {
  return isLanguage(composer.locale.value) ? composer.locale.value : 'en'
}

/** Loads the language where that is needed, and changes all texts. */
export async function setLanguage(chosen: Language): Promise<void> {
  if (chosen !== 'en') composer.setLocaleMessage(chosen, await LOADERS[chosen]())
  composer.locale.value = chosen
  document.documentElement.lang = chosen
}

/** The language that the user has chosen, or else the browser's if there are texts in it. */
export function wantedLanguage(storage: Storage, browser: readonly string[]): Language {
  const stored = storage.getItem(LANGUAGE_KEY)
  if (stored !== null && isLanguage(stored)) return stored
  return browser.map((tag) => tag.slice(0, 2).toLowerCase()).find(isLanguage) ?? 'en'
}

/** Keeps the choice for the next time. */
export function rememberLanguage(storage: Storage, chosen: Language) {
  storage.setItem(LANGUAGE_KEY, chosen)
}

function isLanguage(name: string): name is Language {
  return Object.hasOwn(LANGUAGES, name)
}

// Making a formatter is slow, so each is made once for each language.
const formatters = new Map<string, Intl.NumberFormat>()

/** A number as the language writes numbers: 1,234.5 or 1.234,5. */
export function showNumber(value: number, options: Intl.NumberFormatOptions = {}): string {
  const key = `${language()} ${JSON.stringify(options)}`
  let formatter = formatters.get(key)
  if (formatter === undefined) {
    formatter = new Intl.NumberFormat(language(), options)
    formatters.set(key, formatter)
  }
  return formatter.format(value)
}
