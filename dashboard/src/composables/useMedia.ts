/** Whether the window is as a media query says, now. */

import { onScopeDispose, readonly, ref } from 'vue'

/** Up to this width tables are cards, and the navigation is at the foot. As in base.css. */
export const NARROW = '(max-width: 899px)'

export function useMedia(query: string) {
  const media = window.matchMedia(query)
  const matches = ref(media.matches)
  const update = () => (matches.value = media.matches)
  media.addEventListener('change', update)
  onScopeDispose(() => media.removeEventListener('change', update))
  return readonly(matches)
}
