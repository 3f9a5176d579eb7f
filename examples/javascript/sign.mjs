// node sign.mjs KEY.pem SPEC.json < rows > envelopes      one JSON object per line
//
// KEY.pem: openssl genpkey -algorithm ed25519, or rowseal keygen.  SPEC.json: SELECT spec FROM rowseal.declarations WHERE tag = …
import { createPrivateKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { sign } from './rowseal.mjs'

const [keyFile, specFile] = process.argv.slice(2)
const seed = Buffer.from(createPrivateKey(readFileSync(keyFile)).export({ format: 'jwk' }).d, 'base64url')
const spec = JSON.parse(readFileSync(specFile, 'utf8'))
for (const line of readFileSync(0, 'utf8').split('\n').filter(Boolean)) console.log(JSON.stringify(sign(spec, JSON.parse(line), seed)))
