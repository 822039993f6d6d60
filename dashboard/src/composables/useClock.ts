/** One clock for all ages on the page: it ticks each second while the tab is shown. */

import { onScopeDispose, readonly, ref } from 'vue'

export function useClock(now: () => number = Date.now) {
  const time = ref(now())
  const tick = () => {
    if (!document.hidden) time.value = now()
  }
  const timer = setInterval(tick, 1_000)
  document.addEventListener('visibilitychange', tick)
  onScopeDispose(() => {
    clearInterval(timer)
    document.removeEventListener('visibilitychange', tick)
  })
  return readonly(time)
}
