/** Views of a table that users save. */

/** What a table shows, by a name. */
export interface SavedView {
  name: string
  /** The text of the filter. */
  q: string
  /** The order, as `showSorts` writes it. */
  sort: string
  /** The columns in their order; null for the usual ones. */
  shown: readonly string[] | null
}

/** Whether what is stored is a list of views. */
export function isSavedViews(value: unknown): value is SavedView[] {
  return Array.isArray(value) && value.every(isSavedView)
}

function isSavedView(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { name, q, sort, shown } = value as Record<string, unknown>
  const isShown =
    shown === null || (Array.isArray(shown) && shown.every((key) => typeof key === 'string'))
  return [name, q, sort].every((part) => typeof part === 'string') && isShown
}
