/** The icons, as paths of strokes within 24 by 24. */
export const ICONS = {
  alert:
    'M12 9v4m0 4h.01M10.3 3.9 2.4 17.6A2 2 0 0 0 4.1 20.6h15.8a2 2 0 0 0 1.7-3L13.7 3.9a2 2 0 0 0-3.4 0Z',
  check: 'm5 12 5 5L20 7',
  chevron: 'm6 9 6 6 6-6',
  clock: 'M12 7v5l3 2M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0Z',
  columns: 'M4 5h16v14H4zM10 5v14M15 5v14',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  download: 'M12 4v11m-4-4 4 4 4-4M4 20h16',
  events: 'M4 6h16M4 12h16M4 18h10',
  fleet: 'M4 4h16v6H4zM4 14h16v6H4zM8 7h.01M8 17h.01',
  menu: 'M5 12h.01M12 12h.01M19 12h.01',
  mute: 'M9 18v1a3 3 0 0 0 6 0v-1M4 4l16 16M6.5 8.5C6 10 6 12 4.5 16H16M9 5.6A5.5 5.5 0 0 1 17.5 10c0 2 .4 3.5 1 5',
  search: 'M16.5 16.5 21 21M18 11a7 7 0 1 1-14 0 7 7 0 0 1 14 0Z',
  settings: 'M4 7h10m4 0h2M4 17h2m4 0h10M16 5v4M8 15v4',
  star: 'm12 4 2.5 5 5.5.8-4 3.9.9 5.5L12 16.6l-4.9 2.6.9-5.5-4-3.9 5.5-.8Z',
  user: 'M5 20a7 7 0 0 1 14 0M16 8a4 4 0 1 1-8 0 4 4 0 0 1 8 0Z',
  x: 'M6 6l12 12M18 6 6 18',
} as const

/** The name of an icon. */
export type IconName = keyof typeof ICONS
