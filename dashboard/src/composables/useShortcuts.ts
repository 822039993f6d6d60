/** Keys that work anywhere on the page, unless somebody types a text. */

import { onScopeDispose } from 'vue'

/** How long `g` waits for the next key, in milliseconds. */
const SEQUENCE_MS = 1_200

/** By the keys, what to do: one key, `g` and another, or `mod` (Ctrl or Cmd) and another. */
export type Shortcuts = Readonly<Record<string, () => void>>

export function useShortcuts(shortcuts: () => Shortcuts) {
  let first = ''
  let firstAt = 0

  function onKeydown(event: KeyboardEvent) {
    const isMod = (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey
    // Those work while somebody types, too.
    const modAct = isMod ? shortcuts()[`mod ${event.key}`] : undefined
    if (modAct !== undefined && !isTaken()) {
      event.preventDefault()
      modAct()
      return
    }
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return
    if (isTaken()) return

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

/** A dialog or a menu has the keyboard for itself. */
function isTaken(): boolean {
  return document.querySelector('[role=dialog], [role=menu]') !== null
}

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    target.closest('input, textarea, select, [contenteditable]') !== null
  )
}
