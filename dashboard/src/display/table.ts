/** What tables have in common: columns, order, and what users choose of both. */

import { showNumber } from '../i18n'

/** A value by which rows are sorted and exported; null goes last in either direction. */
export type CellValue = string | number | null

/** A column of a table. */
export interface Column<Row> {
  key: string
  /** What the header says, in the language of the page. */
  label: () => string
  /** What the column says, for its tooltip, where the label alone does not tell. */
  meaning?: () => string
  value: (row: Row) => CellValue
  /** What is exported, if that is not the value. */
  exported?: (row: Row) => CellValue
  /** Whether the first click on the header brings the greatest value to the top. */
  greatestFirst?: boolean
  /** In pixels: how wide the column is, or at least, if it takes some of what is left. */
  width: number
  /** The column's share of the width that is left over. */
  grow?: number
  /** Whether the column is there before somebody asks for it. */
  isExtra?: boolean
  /** Whether the column says which row it is: the header of the row. */
  isRowHeader?: boolean
}

/** A column by which rows are sorted, and the direction. */
export interface Sort {
  key: string
  descending: boolean
}

/** What the user has chosen of a table's columns. */
export interface Layout {
  /** The columns that are shown, in their order; null for the usual ones. */
  shown: readonly string[] | null
  /** Widths that the user has set, in pixels. */
  widths: Readonly<Record<string, number>>
}

export const USUAL_LAYOUT: Layout = { shown: null, widths: {} }

/** Whether a stored value is a layout. */
export function isLayout(value: unknown): value is Layout {
  if (typeof value !== 'object' || value === null) return false
  const { shown, widths } = value as Record<string, unknown>
  const isShown =
    shown === null || (Array.isArray(shown) && shown.every((key) => typeof key === 'string'))
  return (
    isShown &&
    typeof widths === 'object' &&
    widths !== null &&
    Object.values(widths).every((width) => typeof width === 'number')
  )
}

/** The columns of the layout, in its order. Names that no column has are skipped. */
export function shownColumns<Row>(
  columns: readonly Column<Row>[],
  layout: Layout,
): readonly Column<Row>[] {
  const { shown } = layout
  if (shown === null) return columns.filter((column) => column.isExtra !== true)
  const found = shown.flatMap((key) => columns.filter((column) => column.key === key))
  // A table without the name of its rows says nothing.
  const header = columns.find((column) => column.isRowHeader)
  return header === undefined || found.includes(header) ? found : [header, ...found]
}

/**
 * The sort after a click on a column's header. The first click gives the column's own
 * order, the next click the reverse. A click with Shift adds the column behind the others.
 */
export function sortAfterClick<Row>(
  sorts: readonly Sort[],
  column: Column<Row>,
  isAdded: boolean,
): readonly Sort[] {
  const current = sorts.find(({ key }) => key === column.key)
  const next = {
    key: column.key,
    descending: current === undefined ? column.greatestFirst === true : !current.descending,
  }
  if (!isAdded) return [next]
  return current === undefined
    ? [...sorts, next]
    : sorts.map((sort) => (sort.key === column.key ? next : sort))
}

/** The sort as a text for the URL: `-load,host`. */
export function showSorts(sorts: readonly Sort[]): string {
  return sorts.map(({ key, descending }) => (descending ? `-${key}` : key)).join(',')
}

/** The sort that the text spells; names that no column has are skipped. */
export function parseSorts<Row>(text: string, columns: readonly Column<Row>[]): readonly Sort[] {
  return text
    .split(',')
    .map((part) => ({ key: part.replace(/^-/, ''), descending: part.startsWith('-') }))
    .filter(({ key }) => columns.some((column) => column.key === key))
}

// Sorts "vpn-2" before "vpn-10". One collator serves all, because making a collator is
// slow.
const collator = new Intl.Collator('en', { numeric: true })

/** Compares names as people do: "vpn-2" comes before "vpn-10". */
export function compareNames(a: string, b: string): number {
  return collator.compare(a, b)
}

/**
 * A sorted copy. Rows with equal values are in the order of `nameOf`. Rows that are almost
 * sorted already are sorted fast, so callers hand in the order of before.
 */
export function sortRows<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  sorts: readonly Sort[],
  nameOf: (row: Row) => string,
): Row[] {
  const keys = sorts.flatMap(({ key, descending }) => {
    const column = columns.find((candidate) => candidate.key === key)
    return column === undefined ? [] : [{ value: column.value, direction: descending ? -1 : 1 }]
  })
  const decorated = rows.map((row) => ({ row, values: keys.map(({ value }) => value(row)) }))

  decorated.sort((a, b) => {
    for (const [index, { direction }] of keys.entries()) {
      const order = compareValues(a.values[index] ?? null, b.values[index] ?? null, direction)
      if (order !== 0) return order
    }
    return collator.compare(nameOf(a.row), nameOf(b.row))
  })
  return decorated.map(({ row }) => row)
}

function compareValues(a: CellValue, b: CellValue, direction: number): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null)
  return (
    direction *
    (typeof a === 'string' && typeof b === 'string'
      ? collator.compare(a, b)
      : Number(a) - Number(b))
  )
}

/**
 * Sorts as `sortRows`, and starts from the order of the last time: of a live table, hardly
 * anything has moved.
 */
export function makeSorter<Row>(keyOf: (row: Row) => string, nameOf: (row: Row) => string) {
  let places: ReadonlyMap<string, number> = new Map()

  return (
    rows: readonly Row[],
    columns: readonly Column<Row>[],
    sorts: readonly Sort[],
  ): readonly Row[] => {
    const before = new Array<Row | undefined>(places.size).fill(undefined)
    const added: Row[] = []
    for (const row of rows) {
      const place = places.get(keyOf(row))
      if (place === undefined) added.push(row)
      else before[place] = row
    }
    const kept = before.filter((row) => row !== undefined)
    const sorted = sortRows([...kept, ...added], columns, sorts, nameOf)
    places = new Map(sorted.map((row, place) => [keyOf(row), place]))
    return sorted
  }
}

/** A table as CSV, with a line of headers. */
export function asCsv<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
  const lines = [
    columns.map(({ label }) => csvCell(label())),
    ...rows.map((row) => columns.map((column) => csvCell(exportedValue(row, column)))),
  ]
  return lines.map((cells) => cells.join(',')).join('\r\n') + '\r\n'
}

/** A table as JSON: an object for each row, by the columns' keys. */
export function asJson<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
  const records = rows.map((row) =>
    Object.fromEntries(columns.map((column) => [column.key, exportedValue(row, column)])),
  )
  return JSON.stringify(records, null, 2)
}

function exportedValue<Row>(row: Row, { value, exported }: Column<Row>): CellValue {
  return exported === undefined ? value(row) : exported(row)
}

function csvCell(value: CellValue): string {
  if (value === null) return ''
  if (typeof value === 'number') return String(value)
  // Spreadsheets take a cell that begins so for a formula, and hosts choose their names.
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** A percentage with one digit, for example "23.5 %". */
export function showPercent(percent: number): string {
  const digits = { minimumFractionDigits: 1, maximumFractionDigits: 1 }
  return `${showNumber(percent, digits)} %`
}
