import { expect, test } from 'vitest'
import { showBytes } from '../../src/display/bytes'

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1000, '1.0 kB'],
  [999_500, '1.0 MB'],
  [1_234_000_000, '1.2 GB'],
  [99_950_000_000, '100 GB'],
  [2 ** 53, '9.0 PB'],
])('%d bytes are %s', (bytes, expected) => {
  expect(showBytes(bytes)).toBe(expected)
})
