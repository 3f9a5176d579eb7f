// Signs and verifies rows of tables that are declared to rowseal: the form rowseal/1 of docs/specification.md.
import { createHash } from 'node:crypto' // in a browser: @noble/hashes
import * as ed from '@noble/ed25519'
import canonicalize from 'canonicalize'

const sha512 = (...parts) => Uint8Array.from(parts.reduce((hash, part) => hash.update(part), createHash('sha512')).digest())
const base64 = (bytes) => Buffer.from(bytes).toString('base64')
const number = (bytes) => BigInt('0x' + Buffer.from(bytes).reverse().toString('hex')) // little endian
ed.hashes.sha512 = sha512

/** A JavaScript value as the canonical form has it. Strings stand as they are: what JavaScript has no value for is given as text. */
function encode(kind, value) {
  if (kind.array) return value.map((v) => (v === null ? v : encode(Array.isArray(v) && kind.array !== 'json' ? kind : kind.array, v)))
  if (kind.composite) return Object.fromEntries(kind.composite.filter(([n]) => value[n] != null).map(([n, k]) => [n, encode(k, value[n])]))
  if (kind === 'json') return value
  if (value instanceof Uint8Array) return base64(value)
  if (kind === 'float') return Object.is(value, -0) ? '-0' : Number.isFinite(value) ? value : String(value) // of a real: Math.fround
  if (value instanceof Date) {
    const text = value.toISOString().replace('Z', '000') // a Date knows milliseconds
    return kind === 'date' ? text.slice(0, 10) : kind === 'timestamptz' ? text + 'Z' : text
  }
  if (typeof value === 'number' && !Number.isSafeInteger(value)) throw new RangeError(`${value} as ${kind}: give it as text or BigInt`)
  return kind === 'boolean' ? value : kind === 'uuid' ? value.toLowerCase() : String(value)
}

/** The text to sign. form: the spec in rowseal.declarations. row: fields to values; undefined is NULL, and so is null but for JSON. */
export function payload({ tag, fields }, row) {
  const set = Object.entries(row).filter(([name, value]) => value !== undefined && (value !== null || fields[name] === 'json'))
  for (const [name] of set) if (!Object.hasOwn(fields, name)) throw new RangeError(`no field ${name} in ${tag}`)
  return canonicalize({ row: Object.fromEntries(set.map(([name, value]) => [name, encode(fields[name], value)])), rowseal: 1, table: tag })
}

/** The signed row as an envelope. seed: the private key, 32 bytes. */
export function sign(form, row, seed) {
  const text = payload(form, row)
  return { ...JSON.parse(text), sign_b64: base64(ed.sign(Buffer.from(text), seed)) }
}

/** Ed25519 by libsodium's rule, which is the servers': other libraries take some signatures that they refuse. All three are bytes. */
export function verifyBytes(signature, message, publicKey) {
  try {
    if (signature.length !== 64) return false
    const [r, s] = [signature.subarray(0, 32), number(signature.subarray(32))]
    const key = ed.Point.fromBytes(publicKey)
    const h = number(sha512(r, publicKey, message)) % ed.Point.CURVE().n
    const expected = ed.Point.BASE.multiply(s, false).subtract(key.multiply(h, false)) // without cofactor; it refuses s >= n
    return !key.isSmallOrder() && !expected.isSmallOrder() && Buffer.from(expected.toBytes()).equals(r)
  } catch {
    return false // a point that is none, or no canonical encoding of one
  }
}

/** Whether an envelope is signed with that public key (32 bytes). */
export function verify({ row, rowseal, sign_b64, table }, publicKey) {
  const signature = Buffer.from(String(sign_b64), 'base64')
  return rowseal === 1 && base64(signature) === sign_b64 && verifyBytes(signature, Buffer.from(canonicalize({ row, rowseal, table })), publicKey)
}
