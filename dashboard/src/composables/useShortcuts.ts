/** Keys that work anywhere on the page, unless somebody types a text. */

import { onScopeDispose } from 'vue'

/** How long `g` waits for the next key, in milliseconds. */
const SEQUENCE_MS = 1_200

/** By the keys, one or `g` and another, what to do. */
export type Shortcuts = Readonly<Record<string, () => void>>

export function useShortcuts(shortcuts: () => Shortcuts) {
  let first = ''
  let firstAt = 0

  function onKeydown(event: KeyboardEvent) {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return
    // A dialog or a menu has the keyboard for itself.
    if (document.querySelector('[role=dialog], [role=menu]') !== null) return

    const isSecond = first === 'g' && event.timeStamp - firstAt < SEQUENCE_MS
    const act = shortcuts()[isSecond ? `g ${event.key}` : event.key]
    first = isSecond ? '' : event.key
    firstAt = event.timeStamp
    if (act === undefined) return

    event.preventDefault()
    act()
  }

  document.addEventListener('keydown', onKeydown)
  onScopeDispose(() => document.removeEventListener('keydown', onKeydown))
}

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    target.closest('input, textarea, select, [contenteditable]') !== null
  )
}
