/** The canonical form. */

import { showField } from './fields'
import { showLiteral } from './literals'
import type { Expression, Test } from './tree'

/** One blank between words, and no parentheses and quotes that are not needed. */
export function showExpression(expression: Expression): string {
  switch (expression.kind) {
    case 'all':
      return 'all'
    case 'term':
      return showField(expression.field) + showTest(expression.test)
    case 'not': {
      const { inner } = expression
      return `not ${showWithin(inner, inner.kind === 'and' || inner.kind === 'or')}`
    }
    case 'and':
      return expression.parts.map((part) => showWithin(part, part.kind === 'or')).join(' and ')
    case 'or':
      return expression.parts.map(showExpression).join(' or ')
  }
}

/** A part of something larger, in parentheses if it needs some. */
function showWithin(part: Expression, needsParentheses: boolean): string {
  const shown = showExpression(part)
  return needsParentheses ? `(${shown})` : shown
}

function showTest(test: Test): string {
  switch (test.kind) {
    case 'alone':
      return ''
    case 'compare':
      return ` ${test.operator} ${showLiteral(test.literal)}`
    default:
      return ` ${test.kind} (${test.literals.map(showLiteral).join(', ')})`
  }
}
