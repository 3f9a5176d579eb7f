// One signature for many rows (docs/specification.md, "Batches").  Node 18 or later, no packages.
//
//   node batch.mjs KEY.pem < payloads > signatures
//
// payloads: one per line, as rowseal.payload gives them; signatures: the rows' signature columns in base64, in the same order.
// KEY.pem: an Ed25519 key (openssl genpkey -algorithm ed25519).
import { createHash, createPrivateKey, sign } from 'node:crypto'
import { readFileSync, realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest()
const byte = (n) => Uint8Array.of(n)
const uint32 = (n) => Buffer.from(Uint8Array.of(n >>> 24, n >>> 16, n >>> 8, n))

/** The signature column of each payload (bytes); signOne(message) returns the key's plain signature. */
export function signMany(payloads, signOne) {
  let level = payloads.map((payload) => sha256(byte(0), payload))
  const levels = []
  while (level.length > 1) {
    const below = level
    levels.push(below)
    level = below.flatMap((node, i) => (i % 2 ? [] : [i + 1 < below.length ? sha256(byte(1), node, below[i + 1]) : node]))
  }
  const count = uint32(payloads.length)
  const signature = signOne(Buffer.concat([Buffer.from('rowseal/1 batch\0'), count, level[0]]))
  return payloads.map((_, index) => {
    const proof = levels.map((nodes, height) => nodes[(index >>> height) ^ 1]).filter((node) => node)
    return Buffer.concat([byte(1), uint32(index), count, ...proof, signature])
  })
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const key = createPrivateKey(readFileSync(process.argv[2]))
  const payloads = readFileSync(0, 'utf8').split('\n').filter((line) => line)
  for (const column of signMany(payloads, (message) => sign(null, message, key))) console.log(column.toString('base64'))
}
