/** Dark or light: as the user has chosen, or as the system is. */

import { computed, ref, watchEffect } from 'vue'
import { useStored } from './useStored'

export const THEMES = ['system', 'light', 'dark'] as const
/** What the user chooses. */
export type Theme = (typeof THEMES)[number]

function isTheme(value: unknown): value is Theme {
  return (THEMES as readonly unknown[]).includes(value)
}

/** Sets `data-theme` of the document, which `base.css` reads. The page calls this once. */
export function useTheme() {
  const { value: theme, set } = useStored<Theme>('fleetbeat.theme', 'system', isTheme)

  const system = window.matchMedia('(prefers-color-scheme: dark)')
  const isSystemDark = ref(system.matches)
  system.addEventListener('change', () => (isSystemDark.value = system.matches))

  const isDark = computed(() =>
    theme.value === 'system' ? isSystemDark.value : theme.value === 'dark',
  )
  watchEffect(() => {
    document.documentElement.dataset.theme = isDark.value ? 'dark' : 'light'
  })

  return { theme, isDark, setTheme: set }
}
