/**
 * Fails if the first load is larger than it may be: what index.html asks for, and what
 * those files import at once, compressed as the server compresses.
 */

import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

const MOST_BYTES = 250_000
const dist = fileURLToPath(new URL('../dist/', import.meta.url))

const sizes = new Map()

function add(file) {
  if (sizes.has(file) || !existsSync(file)) return
  const bytes = readFileSync(file)
  sizes.set(file, gzipSync(bytes, { level: 9 }).length)
  if (!file.endsWith('.js')) return
  // `import {a} from "./b.js"`, `import "./b.js"` and `export … from`, not `import("./b.js")`.
  for (const [, path] of bytes.toString().matchAll(/(?:from|import)\s*["'](\.[^"']+)["']/g)) {
    add(join(dirname(file), path))
  }
}

add(join(dist, 'index.html'))
const page = readFileSync(join(dist, 'index.html'), 'utf8')
for (const [, path] of page.matchAll(/(?:src|href)="(\.[^"]+)"/g)) add(join(dist, path))

const sum = [...sizes.values()].reduce((total, size) => total + size, 0)
if (sizes.size < 3) throw new Error('index.html names no script and no style: has Vite changed?')

console.log(`first load: ${sum} bytes compressed, of ${MOST_BYTES}`)
if (sum > MOST_BYTES) {
  for (const [file, size] of sizes) console.error(`  ${size} ${relative(dist, file)}`)
  process.exit(1)
}
