/** What a user has chosen of a table: columns, which the browser keeps, and the order. */

import { shallowRef } from 'vue'
import { USUAL_LAYOUT, isLayout } from '../display/table'
import type { Sort } from '../display/table'
import { useStored } from './useStored'

/** `name` is the table's, in what the browser keeps; `sorts` is the order to begin with. */
export function useTableState(name: string, sorts: readonly Sort[]) {
  const { value: layout, set: setLayout } = useStored(
    `fleetbeat.${name}.layout`,
    USUAL_LAYOUT,
    isLayout,
  )
  return { layout, setLayout, sorts: shallowRef(sorts) }
}
