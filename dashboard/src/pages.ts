/**
 * The pages of the dashboard. A page is a line here; the navigation, the shortcuts and
 * the router take it from here. Each page is loaded when somebody opens it.
 */

import type { Component } from 'vue'
import type { Action } from './access'
import type { IconName } from './components/ui/icons'
import type { MessageKey } from './i18n'

/** A page. */
export interface PageEntry {
  /** The name by which the code links to the page. */
  name: string
  /** The path behind `#`, with `:parameters`. */
  path: string
  /** What the browser's tab and the navigation say. */
  title: MessageKey
  load: () => Promise<{ default: Component }>
  /** Its place in the navigation; without one, others link to the page. */
  nav?: {
    icon: IconName
    /** Behind `g`, the key that opens the page. */
    key: string
    /** What a user has to be allowed to do for the page to be of use. */
    needs?: Action
  }
}

export const PAGES: readonly PageEntry[] = [
  {
    name: 'fleet',
    path: '/fleet',
    title: 'shell.fleet',
    load: () => import('./views/FleetView.vue'),
    nav: { icon: 'fleet', key: 'f' },
  },
  {
    name: 'alerts',
    path: '/alerts/:tab?',
    title: 'alerts.title',
    load: () => import('./views/AlertsView.vue'),
    nav: { icon: 'alert', key: 'a', needs: 'alerts.see' },
  },
  {
    name: 'events',
    path: '/events',
    title: 'events.title',
    load: () => import('./views/EventsView.vue'),
    nav: { icon: 'events', key: 'e' },
  },
  {
    name: 'host',
    path: '/hosts/:id',
    title: 'host.title',
    load: () => import('./views/HostView.vue'),
  },
]
