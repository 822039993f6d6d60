/** A value that the browser keeps for the user, as JSON. */

import { shallowRef } from 'vue'

/**
 * The stored value if there is one that passes the check, else `initial`. Nothing is
 * stored before `set`. A storage that is full or closed keeps nothing, and the page works.
 */
export function useStored<T>(key: string, initial: T, isExpected: (value: unknown) => value is T) {
  const value = shallowRef<T>(load() ?? initial)

  function load(): T | null {
    try {
      const text = localStorage.getItem(key)
      const stored: unknown = text === null ? null : JSON.parse(text)
      return isExpected(stored) ? stored : null
    } catch {
      return null
    }
  }

  function set(changed: T) {
    value.value = changed
    try {
      localStorage.setItem(key, JSON.stringify(changed))
    } catch {
      // Nothing is kept over a reload.
    }
  }

  return { value, set }
}
