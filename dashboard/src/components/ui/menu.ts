import type { IconName } from './icons'

/** A line of a menu. */
export type MenuEntry =
  | {
      kind: 'item'
      label: string
      act: (event: Event) => void
      icon?: IconName
      /** Why the user may not; null or left out when the user may. */
      reason?: string | null
      /** For what is chosen, or on. */
      checked?: boolean
      danger?: boolean
    }
  | { kind: 'label'; label: string }
  | { kind: 'line' }
