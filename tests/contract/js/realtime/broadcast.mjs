// Broadcast from client to clients: over the socket, over HTTP, as JSON and as bytes.

import assert from 'node:assert/strict'
import { broadcasts, finish, inbox, join, member, own, step, vsn } from './members.mjs'

const hasBytes = vsn === '2.0.0'
const supabase = member()
const other = member()
const bytesOf = (text) => new TextEncoder().encode(text).buffer
const textOf = (bytes) => new TextDecoder().decode(bytes)

await step('a message reaches everybody else in the channel, and not its sender', async () => {
  const mine = supabase.channel(own('room'))
  const theirs = other.channel(own('room'))
  const here = broadcasts(mine)
  const there = broadcasts(theirs, 'cursor-pos')
  await Promise.all([join(mine), join(theirs)])
  const payload = { x: 1, text: 'Grüße, 世界 🚀', nested: { list: [1, null, 'two'] } }
  assert.equal(await mine.send({ type: 'broadcast', event: 'cursor-pos', payload }), 'ok')
  assert.deepEqual(await there.count(1), [{ type: 'broadcast', event: 'cursor-pos', payload }])
  await theirs.send({ type: 'broadcast', event: 'seen', payload: {} })
  await here.count(1)
  assert.deepEqual(here.items.map(({ event }) => event), ['seen'])
})

await step('an event has its own listeners, and `*` hears all of them', async () => {
  const mine = supabase.channel(own('events'))
  const theirs = other.channel(own('events'))
  const all = broadcasts(theirs)
  const one = broadcasts(theirs, 'one')
  await Promise.all([join(mine), join(theirs)])
  for (const event of ['one', 'two']) await mine.send({ type: 'broadcast', event, payload: {} })
  await all.count(2)
  assert.deepEqual([all, one].map(({ items }) => items.map(({ event }) => event)), [['one', 'two'], ['one']])
})

await step('a sender may ask for its own messages', async () => {
  const channel = supabase.channel(own('self'), { config: { broadcast: { self: true } } })
  const heard = broadcasts(channel)
  await join(channel)
  await channel.send({ type: 'broadcast', event: 'echo', payload: { a: 1 } })
  assert.deepEqual((await heard.count(1))[0].payload, { a: 1 })
})

await step('a sender may ask for an acknowledgement, and is told when a message was too large', async () => {
  const channel = supabase.channel(own('ack'), { config: { broadcast: { ack: true } } })
  await join(channel)
  assert.equal(await channel.send({ type: 'broadcast', event: 'e', payload: {} }), 'ok')
  assert.equal(await channel.send({ type: 'broadcast', event: 'e', payload: { text: 'x'.repeat(100_001) } }), 'error')
})

await step('bytes arrive as bytes', async () => {
  if (!hasBytes) return
  const mine = supabase.channel(own('bytes'))
  const theirs = other.channel(own('bytes'))
  const there = broadcasts(theirs)
  await Promise.all([join(mine), join(theirs)])
  await mine.send({ type: 'broadcast', event: 'buffer', payload: bytesOf('\0 buffer') })
  await mine.send({ type: 'broadcast', event: 'empty', payload: new ArrayBuffer(0) })
  const [buffer, empty] = await there.count(2)
  assert.equal(textOf(buffer.payload), '\0 buffer')
  assert.equal(empty.payload.byteLength, 0)
})

await step('both versions of the protocol meet in one channel, bytes only those who can hold them', async () => {
  const clients = ['1.0.0', '2.0.0'].map((version) => member({ realtime: { vsn: version } }))
  const [old, recent] = clients.map((client) => client.channel(own('both')))
  const [heardOld, heardRecent] = [old, recent].map((channel) => broadcasts(channel))
  await Promise.all([join(old), join(recent)])
  await old.send({ type: 'broadcast', event: 'old', payload: { from: 'old' } })
  await recent.send({ type: 'broadcast', event: 'bytes', payload: bytesOf('bytes') })
  await recent.send({ type: 'broadcast', event: 'recent', payload: { from: 'recent' } })
  assert.deepEqual(await heardRecent.count(1), [{ type: 'broadcast', event: 'old', payload: { from: 'old' } }])
  assert.deepEqual(await heardOld.count(1), [{ type: 'broadcast', event: 'recent', payload: { from: 'recent' } }])
})

await step('send() before subscribe() goes over HTTP', async () => {
  const channel = other.channel(own('http'))
  const heard = broadcasts(channel)
  await join(channel)
  const sender = supabase.channel(own('http'))
  assert.equal(await sender.send({ type: 'broadcast', event: 'early', payload: { a: 1 } }), 'ok')
  assert.deepEqual(await heard.count(1), [{ type: 'broadcast', event: 'early', payload: { a: 1 } }])
})

await step('httpSend() takes JSON and bytes, whatever the names', async () => {
  const name = own('a/b c?ü')
  const channel = other.channel(name)
  const heard = broadcasts(channel)
  await join(channel)
  const sender = supabase.channel(name)
  if (hasBytes) {
    assert.deepEqual(await sender.httpSend('raw', bytesOf('raw')), { success: true })
    assert.deepEqual(await sender.httpSend('raw', new Uint8Array([1, 2])), { success: true })
    const [first, second] = await heard.count(2)
    assert.deepEqual([textOf(first.payload), ...new Uint8Array(second.payload)], ['raw', 1, 2])
  }
  assert.deepEqual(await sender.httpSend('mood / ä', { glad: true }, { timeout: 5000 }), { success: true })
  const { payload, type } = await heard.find(({ event }) => event === 'mood / ä')
  assert.deepEqual([payload, type], [{ glad: true }, 'broadcast'])
  await assert.rejects(sender.httpSend('large', { text: 'x'.repeat(100_001) }))
})

await step('twenty messages at once arrive in their order', async () => {
  const mine = supabase.channel(own('burst'))
  const theirs = other.channel(own('burst'))
  const there = broadcasts(theirs)
  await Promise.all([join(mine), join(theirs)])
  const numbers = [...Array(20).keys()]
  await Promise.all(numbers.map((n) => mine.send({ type: 'broadcast', event: 'n', payload: { n } })))
  assert.deepEqual((await there.count(20)).map(({ payload }) => payload.n), numbers)
})

await step('many channels share a socket and keep apart', async () => {
  const sockets = inbox()
  class Counted extends WebSocket {
    constructor (...given) { super(...given); sockets.take(this) }
  }
  const one = member({ realtime: { transport: Counted } })
  const names = [...Array(10).keys()].map((n) => own(`many-${n}`))
  const rooms = names.map((name) => one.channel(name))
  const heard = rooms.map((channel) => broadcasts(channel))
  const senders = names.map((name) => other.channel(name))
  await Promise.all([...rooms, ...senders].map((channel) => join(channel)))
  await Promise.all(senders.map((channel, n) => channel.send({ type: 'broadcast', event: 'n', payload: { n } })))
  await Promise.all(senders.map((channel) => channel.send({ type: 'broadcast', event: 'last', payload: {} })))
  await Promise.all(heard.map((each) => each.find(({ event }) => event === 'last')))
  assert.deepEqual(heard.map(({ items }) => items.filter(({ event }) => event === 'n').map(({ payload }) => payload.n)),
    names.map((_, n) => [n]))
  assert.equal(sockets.items.length, 1)
})

await finish()
