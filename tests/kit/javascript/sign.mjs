// Rows of the running example, signed by other people's code: @noble/post-quantum, canonicalize.
// stdin: {"algorithm", "seed": hex, "deterministic": bool, "payload"?, "rows"?: [{"table", "row"}], "batch"?: bool}
// stdout: {"public_key", "signature"} (base64) of the payload, or {"public_key", "envelopes"}
import { readFileSync } from 'node:fs'
import canonicalize from 'canonicalize'
import { ml_dsa65, ml_dsa87 } from '@noble/post-quantum/ml-dsa.js'

const { signMany } = await import(process.argv[2])
const { algorithm, seed, deterministic, payload, rows, batch } = JSON.parse(readFileSync(0, 'utf8'))
const scheme = { 'ml-dsa-65': ml_dsa65, 'ml-dsa-87': ml_dsa87 }[algorithm]
const { publicKey, secretKey } = scheme.keygen(Uint8Array.from(Buffer.from(seed, 'hex')))
const base64 = (bytes) => Buffer.from(bytes).toString('base64')
const sign = (message) => scheme.sign(Uint8Array.from(message), secretKey, deterministic ? { extraEntropy: false } : {})

const answer = { public_key: base64(publicKey) }
if (payload) answer.signature = base64(sign(Buffer.from(payload)))
if (rows) {
  const objects = rows.map(({ table, row }) => ({ row, rowseal: 1, table }))
  const payloads = objects.map((object) => Buffer.from(canonicalize(object)))
  const signatures = batch ? signMany(payloads, sign) : payloads.map(sign)
  answer.envelopes = objects.map((object, i) => ({ ...object, sign_b64: base64(signatures[i]) }))
}
console.log(JSON.stringify(answer))
