/** How a field is compared with a value. */

/** The operators, each before the ones that it begins with. */
export const OPERATORS = ['!=', '!~', '<=', '>=', '=', '~', '<', '>'] as const
/** How a field is compared with a value. */
export type Operator = (typeof OPERATORS)[number]

/** Whether the operator asks for more or less. */
export function isOrder(operator: Operator): boolean {
  return ['<', '<=', '>', '>='].includes(operator)
}

/** Whether the value is a pattern. */
export function isPattern(operator: Operator): boolean {
  return operator === '~' || operator === '!~'
}

/** Whether whole values are compared. */
export function isEquality(operator: Operator): boolean {
  return operator === '=' || operator === '!='
}
