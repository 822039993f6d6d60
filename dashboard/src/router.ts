/**
 * Paths behind `#`, because the API has the paths that pages would have (`/alerts`,
 * `/events`), and because everything the page asks for is relative to where a proxy has
 * put the page, which only the part before `#` tells.
 */

import { createRouter, createWebHashHistory } from 'vue-router'
import type { RouterHistory } from 'vue-router'
import { PAGES } from './pages'
import type { MessageKey } from './i18n'

declare module 'vue-router' {
  /** What the shell knows of the page. */
  interface RouteMeta {
    title?: MessageKey
  }
}

/** The router; tests give it a history of their own. */
export function makeRouter(history: RouterHistory = createWebHashHistory()) {
  return createRouter({
    history,
    routes: [
      { path: '/', redirect: { name: 'fleet' } },
      ...PAGES.map(({ name, path, title, load }) => ({
        name,
        path,
        component: load,
        meta: { title },
      })),
      {
        path: '/:rest(.*)*',
        name: 'not-found',
        component: () => import('./views/NotFoundView.vue'),
      },
    ],
  })
}
