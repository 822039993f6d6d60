/** Short messages at the edge of the page, some with a button such as "Undo". */

import { shallowRef } from 'vue'
import type { Tone } from '../components/ui/tone'

/** How long a message stays that asks for nothing, in milliseconds. */
const SHOWN_MS = 6_000

/** A message. */
export interface Toast {
  id: number
  message: string
  tone: Tone
  /** What the user can do about it. */
  action?: { label: string; act: () => void }
  /** How much is done, from 0 to 1. */
  progress?: number
  /** Whether it stays until somebody dismisses it. */
  stays: boolean
}

/** What a message has besides its text. */
export type ToastOptions = Partial<Omit<Toast, 'id' | 'message'>>

/** The messages, and the ways to change them. */
export type Toasts = ReturnType<typeof useToasts>

export function useToasts() {
  const toasts = shallowRef<readonly Toast[]>([])
  const timers = new Map<number, ReturnType<typeof setTimeout>>()
  let lastId = 0

  /** Shows a message and gives its id. A failure stays until it is dismissed. */
  function show(message: string, options: ToastOptions = {}): number {
    lastId += 1
    put({ tone: 'neutral', stays: options.tone === 'bad', ...options, id: lastId, message })
    return lastId
  }

  /** Changes a message that is shown. */
  function change(id: number, message: string, options: ToastOptions = {}) {
    put({ tone: 'neutral', stays: options.tone === 'bad', ...options, id, message })
  }

  function put(toast: Toast) {
    clearTimeout(timers.get(toast.id))
    const others = toasts.value.some(({ id }) => id === toast.id)
    toasts.value = others
      ? toasts.value.map((other) => (other.id === toast.id ? toast : other))
      : [...toasts.value, toast]
    if (!toast.stays)
      timers.set(
        toast.id,
        setTimeout(() => dismiss(toast.id), SHOWN_MS),
      )
  }

  function dismiss(id: number) {
    clearTimeout(timers.get(id))
    timers.delete(id)
    toasts.value = toasts.value.filter((toast) => toast.id !== id)
  }

  return { toasts, show, change, dismiss }
}
