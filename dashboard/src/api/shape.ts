/**
 * Shapes: checks of the API's answers, field by field. The compiler holds each shape to
 * its type.
 */

/** A check that a value is a `T`. */
export type Check<T> = (value: unknown) => value is T

/** A check of each field. A field added to `T` without a check here does not compile. */
export type Shape<T> = { [K in keyof T]-?: Check<T[K]> }

/**
 * Whether the value has all fields of the shape. Further fields are fine: the API may
 * gain some.
 */
export function matches<T>(shape: Shape<T>, value: unknown): value is T {
  if (!isObject(value)) return false

  for (const field in shape) {
    if (!shape[field](value[field])) return false
  }
  return true
}

/** Whether the value is an array whose elements all have the shape. */
export function isListOf<T>(shape: Shape<T>, value: unknown): value is T[] {
  return Array.isArray(value) && value.every((item) => matches(shape, item))
}

/** `matches` for this shape. */
export function shaped<T>(shape: Shape<T>): Check<T> {
  return (value): value is T => matches(shape, value)
}

/** `isListOf` for this shape. */
export function listOf<T>(shape: Shape<T>): Check<T[]> {
  return (value): value is T[] => isListOf(shape, value)
}

export function isText(value: unknown): value is string {
  return typeof value === 'string'
}

export function isNumber(value: unknown): value is number {
  return typeof value === 'number'
}

export function isBoolean(value: unknown): value is boolean {
  return typeof value === 'boolean'
}

export function isTime(value: unknown): value is string {
  return typeof value === 'string' && !Number.isNaN(Date.parse(value))
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function isRecordOfNumbers(value: unknown): value is Record<string, number> {
  return isObject(value) && Object.values(value).every(isNumber)
}

export function isRecordOfTexts(value: unknown): value is Record<string, string> {
  return isObject(value) && Object.values(value).every(isText)
}

export function isListOfTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(isText)
}

export function orNull<T>(check: Check<T>): Check<T | null> {
  return (value): value is T | null => value === null || check(value)
}

export function orAbsent<T>(check: Check<T>): Check<T | undefined> {
  return (value): value is T | undefined => value === undefined || check(value)
}

export function oneOf<T extends string>(names: readonly T[]): Check<T> {
  return (value): value is T => (names as readonly unknown[]).includes(value)
}
