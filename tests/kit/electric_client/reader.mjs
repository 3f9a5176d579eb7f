// Follows a shape with Electric's own client.  Argument: its options as JSON; `resume` gives {handle, offset}.
// Prints a line of JSON whenever all is there: the rows, the changes since the line before, where a resumed stream would go on.
import { ShapeStream, isChangeMessage, isControlMessage } from '@electric-sql/client'

const { resume, ...options } = JSON.parse(process.argv[2])
const raw = Object.fromEntries(['bool', 'int2', 'int4', 'int8', 'float4', 'float8', 'json', 'jsonb'].map((type) => [type, (text) => text]))
const onError = (e) => console.log(JSON.stringify({ error: e.message, status: e.status }))
const stream = new ShapeStream({ ...options, ...resume, parser: raw, onError })
const rows = new Map()
let changes = []
stream.subscribe((messages) => {
  for (const message of messages) {
    if (isChangeMessage(message)) {
      const { operation } = message.headers
      changes.push([operation, message.value, message.old_value ?? null])
      if (operation === 'delete') rows.delete(message.key)
      else rows.set(message.key, { ...rows.get(message.key), ...message.value })
    } else if (isControlMessage(message) && message.headers.control === 'must-refetch') {
      rows.clear()
      changes = ['must-refetch']
    } else if (isControlMessage(message) && message.headers.control === 'up-to-date') {
      console.log(JSON.stringify({ rows: [...rows.values()], changes, handle: stream.shapeHandle, offset: stream.lastOffset }))
      changes = []
    }
  }
})
process.stdin.on('end', () => process.exit(0)).resume()
