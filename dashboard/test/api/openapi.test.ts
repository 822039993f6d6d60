import { describe, expect, test } from 'vitest'
import openapi from '../../../server/src/api/openapi.json'
import {
  ACCOUNT,
  BULK_ANSWER,
  FIELD_ERROR,
  FLAGS,
  HOST_TRAFFIC,
  LOAD,
  MATCHED_HOSTS,
  PROBLEM,
  SERVER,
  SERVICE,
  SETTINGS,
  STATE,
  TOKEN,
  TRAFFIC,
} from '../../src/api/wire'
import type { Shape } from '../../src/api/wire'

/**
 * The parts of JSON Schema that openapi.json uses for the bodies that the dashboard
 * reads.
 */
interface Schema {
  $ref?: string
  type?: string | string[]
  enum?: (string | null)[]
  const?: string
  format?: string
  required?: string[]
  properties?: Record<string, Schema>
  items?: Schema
  anyOf?: Schema[]
  oneOf?: Schema[]
}

// The compiler takes a schema's text apart more finely than a Schema does.
const SCHEMAS = openapi.components.schemas as unknown as Partial<Record<string, Schema>>

function schemaOf(name: string): Schema {
  const schema = SCHEMAS[name]
  if (schema === undefined) throw new Error(`openapi.json has no schema ${name}`)
  return schema
}

/** Values of every kind that JSON has, and times, because not every text is a time. */
const KINDS: Record<string, unknown[]> = {
  null: [null],
  boolean: [false, true],
  number: [0, 23.5],
  string: ['', 'text'],
  'date-time': ['2026-01-31T12:00:00.25Z'],
  array: [[]],
  object: [{}],
}

/** The kinds of values that a schema allows. */
function kindsOf(schema: Schema): string[] {
  if (schema.enum !== undefined || schema.const !== undefined) return ['string']
  return [schema.type ?? []].flat().map((kind) => {
    if (kind === 'integer') return 'number'
    const isTime = kind === 'string' && schema.format === 'date-time'
    return isTime ? 'date-time' : kind
  })
}

/** Values that a schema allows, of each kind. */
function valuesOf(schema: Schema): unknown[] {
  if (schema.$ref !== undefined) return valuesOf(schemaOf(schema.$ref.split('/').at(-1) ?? ''))
  const choices = schema.anyOf ?? schema.oneOf
  if (choices !== undefined) return choices.flatMap(valuesOf)
  if (schema.const !== undefined) return [schema.const]
  if (schema.enum !== undefined) return schema.enum
  return kindsOf(schema).flatMap((kind) => {
    if (kind === 'object' && schema.properties !== undefined) return [exampleOf(schema.properties)]
    if (kind === 'array' && schema.items !== undefined) return [[], valuesOf(schema.items)]
    return KINDS[kind] ?? []
  })
}

function exampleOf(properties: Record<string, Schema>) {
  const fields = Object.entries(properties).map(([name, field]) => [name, valuesOf(field)[0]])
  return Object.fromEntries(fields) as unknown
}

const BOUND: { name: string; shape: Shape<Record<string, unknown>> }[] = [
  { name: 'Account', shape: ACCOUNT },
  { name: 'BulkAnswer', shape: BULK_ANSWER },
  { name: 'FieldError', shape: FIELD_ERROR },
  { name: 'HostTraffic', shape: HOST_TRAFFIC },
  { name: 'Load', shape: LOAD },
  { name: 'MatchedHosts', shape: MATCHED_HOSTS },
  { name: 'Problem', shape: PROBLEM },
  { name: 'Server', shape: SERVER },
  { name: 'Service', shape: SERVICE },
  { name: 'Settings', shape: SETTINGS },
  { name: 'State', shape: STATE },
  { name: 'Token', shape: TOKEN },
  { name: 'Traffic', shape: TRAFFIC },
]

describe.each(BOUND)('the schema $name of openapi.json', ({ name, shape }) => {
  const { properties = {}, required = [] } = schemaOf(name)

  test('has the fields of the type, no more and no fewer', () => {
    expect(Object.keys(shape).sort()).toEqual(Object.keys(properties).sort())
  })

  test.each(Object.entries(properties))('has %s of the same kind', (field, schema) => {
    const check = shape[field]
    const values = valuesOf(schema)
    expect(values).not.toEqual([])
    for (const value of values) expect(check?.(value), JSON.stringify(value)).toBe(true)

    const kinds = new Set(values.map(kindOf))
    const others = Object.values(KINDS)
      .flat()
      .filter((value) => !kinds.has(kindOf(value)))
    for (const value of others) expect(check?.(value), JSON.stringify(value)).toBe(false)
  })

  test.each(Object.keys(properties))('requires %s, or does not, as the type does', (field) => {
    expect(shape[field]?.(undefined)).toBe(!required.includes(field))
  })
})

function kindOf(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'array' : typeof value
}

test('the flags are those that a PATCH may set', () => {
  expect([...FLAGS].sort()).toEqual(Object.keys(schemaOf('FlagsPatch').properties ?? {}).sort())
})
