/** Why a text is not a selector. */

/** The first fault of a text that should be a selector. */
export class SelectorError extends Error {
  /**
   * Where the fault begins, in characters, the first one being 1. A character outside of
   * the Basic Multilingual Plane counts as one, unlike in JavaScript's own counts.
   */
  readonly place: number

  constructor(place: number, message: string) {
    super(message)
    this.name = 'SelectorError'
    this.place = place
  }
}
