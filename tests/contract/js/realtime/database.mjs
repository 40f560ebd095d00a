// Broadcast from the database, and broadcasts that are kept and replayed.

import assert from 'node:assert/strict'
import { ann, broadcasts, finish, good, inbox, join, member, own, service, step, user, vsn } from './members.mjs'

const hasBytes = vsn === '2.0.0'
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const supabase = await user(ann)
const keeper = service()
const textOf = (bytes) => new TextDecoder().decode(bytes)

// A private channel that hears what comes from the database.
async function ready (name, client = supabase, broadcast = {}) {
  const channel = client.channel(name, { config: { private: true, broadcast: { replication_ready: true, ...broadcast } } })
  const heard = broadcasts(channel)
  const system = inbox()
  channel.on('system', {}, system.take)
  await join(channel)
  const told = await system.find(({ extension }) => extension === 'system')
  assert.deepEqual(told, { extension: 'system', status: 'ok', message: 'Replication connection established', channel: name })
  return { channel, heard }
}

// What is kept of a channel since then, as a client receives it that joins now.
async function replayed (name, replay, number) {
  const later = await user(ann)
  const channel = later.channel(name, { config: { private: true, broadcast: { self: true, replay } } })
  const heard = broadcasts(channel)
  await join(channel)
  await channel.send({ type: 'broadcast', event: 'last', payload: {} })
  await heard.find(({ event }) => event === 'last')
  assert.equal(heard.items.length, number + 1, JSON.stringify(heard.items))
  return heard.items.slice(0, number)
}

await step('realtime.send() reaches the channel with an id', async () => {
  const name = own('room:send')
  const { heard } = await ready(name)
  good(await supabase.rpc('announce', { content: { hello: 'world' }, event: 'greeting', topic: name, private: true }))
  const [{ type, event, payload, meta }] = await heard.count(1)
  assert.deepEqual([type, event, payload.hello], ['broadcast', 'greeting', 'world'])
  assert.match(meta.id, UUID)
  assert.equal(payload.id, meta.id)
})

await step('realtime.send() reaches public channels too, and an id of its own stays', async () => {
  const name = own('open')
  const channel = member().channel(name, { config: { broadcast: { replication_ready: true } } })
  const heard = broadcasts(channel)
  const system = inbox()
  channel.on('system', {}, system.take)
  await join(channel)
  await system.count(1)
  good(await keeper.rpc('announce', { content: { id: 7 }, event: 'e', topic: name, private: false }))
  assert.deepEqual((await heard.count(1))[0].payload, { id: 7 })
})

await step('realtime.send() asks the policies about whoever calls it, and an outsider breaks nothing', async () => {
  const name = own('room:policies')
  const { heard } = await ready(name)
  const [outsider, insider] = [member(), supabase]
  good(await outsider.rpc('announce', { content: { from: 'outsider' }, event: 'e', topic: name, private: true }))
  good(await insider.rpc('announce', { content: { from: 'insider' }, event: 'e', topic: name, private: true }))
  await heard.count(1)
  assert.deepEqual(heard.items.map(({ payload }) => payload.from), ['insider'])
})

await step('realtime.send_binary() sends bytes', async () => {
  const name = own('room:bytes')
  const { heard } = await ready(name)
  good(await supabase.rpc('announce_bytes', { content: 'bytes', event: 'b', topic: name }))
  good(await supabase.rpc('announce', { content: {}, event: 'last', topic: name, private: true }))
  await heard.find(({ event }) => event === 'last')
  assert.deepEqual(heard.items.map(({ event }) => event), hasBytes ? ['b', 'last'] : ['last'])
  if (hasBytes) assert.equal(textOf(heard.items[0].payload), 'bytes')
})

await step('realtime.broadcast_changes() tells a room of its rows', async () => {
  const room = own('changes')
  const { heard } = await ready(`room:${room}`)
  const { id } = good(await supabase.from('messages').insert({ room, body: 'a' }).select().single())
  good(await supabase.from('messages').update({ body: 'b' }).eq('id', id))
  good(await supabase.from('messages').delete().eq('id', id))
  const [before, after] = ['a', 'b'].map((body) => ({ id, room, body }))
  const told = (await heard.count(3)).map(({ event, payload, meta }) => {
    const { id: identity, ...rest } = payload
    assert.match(identity, UUID)
    assert.equal(meta.id, identity)
    return { event, ...rest }
  })
  const common = { schema: 'public', table: 'messages' }
  assert.deepEqual(told, [
    { event: 'INSERT', operation: 'INSERT', ...common, record: before, old_record: null },
    { event: 'UPDATE', operation: 'UPDATE', ...common, record: after, old_record: before },
    { event: 'DELETE', operation: 'DELETE', ...common, record: null, old_record: after }
  ])
})

await step('who joins later gets what the database said, oldest first, the newest up to a limit', async () => {
  const name = own('room:replay')
  const { heard } = await ready(name)
  for (const n of [1, 2, 3]) {
    good(await supabase.rpc('announce', { content: { n }, event: 'n', topic: name, private: true }))
  }
  const live = [...await heard.count(3)]
  const since = Date.now() - 60_000
  const all = await replayed(name, { since }, 3)
  assert.deepEqual(all.map(({ type, event, payload, meta }) => [type, event, payload.n, meta.replayed, meta.id]),
    live.map(({ payload, meta }) => ['broadcast', 'n', payload.n, true, meta.id]))
  const newest = await replayed(name, { since, limit: 2 }, 2)
  assert.deepEqual(newest.map(({ payload }) => payload.n), [2, 3])
  await replayed(name, { since: Date.now() + 60_000 }, 0)
})

await step('a replay is for private channels, and what makes no sense is refused', async () => {
  assert.throws(() => supabase.channel(own('public'), { config: { broadcast: { replay: { since: 1 } } } }), /must be a private channel/)
  const wrong = supabase.channel(own('room:wrong'), { config: { private: true, broadcast: { replay: { since: 'yesterday' } } } })
  await assert.rejects(join(wrong), { message: 'UnableToReplayMessages: Replay params are not valid' })
})

await step('a sender may have its broadcast kept', async () => {
  const name = own('room:persist')
  const { channel } = await ready(name, supabase, { ack: true })
  const other = await ready(name, await user(ann))
  const message = { type: 'broadcast', event: 'kept', payload: { n: 1 }, persist: true }
  assert.equal(await channel.send(message), hasBytes ? 'ok' : 'error')
  if (hasBytes) {
    assert.equal(await channel.send({ ...message, payload: { n: 2 }, persist: { ttl: 3600 } }), 'ok')
    assert.equal(await channel.send({ ...message, payload: new TextEncoder().encode('three').buffer }), 'ok')
  }
  assert.deepEqual(await channel.httpSend('kept', { n: 4 }, { persist: true }), { success: true })
  assert.deepEqual(await channel.httpSend('kept', { n: 5 }, { persist: { ttl: 60 } }), { success: true })
  const number = hasBytes ? 5 : 2
  await other.heard.count(number)
  const shown = ({ payload }) => payload instanceof ArrayBuffer ? textOf(payload) : payload.n
  const wanted = hasBytes ? [1, 2, 'three', 4, 5] : [4, 5]
  assert.deepEqual(other.heard.items.map(shown), wanted)
  assert.deepEqual((await replayed(name, { since: Date.now() - 60_000 }, number)).map(shown), wanted)
})

await step('what is to be kept needs a private channel and permission', async () => {
  const open = supabase.channel(own('unkept'), { config: { broadcast: { ack: true } } })
  await join(open)
  assert.equal(await open.send({ type: 'broadcast', event: 'e', payload: {}, persist: true }), 'error')
  await assert.rejects(open.httpSend('e', {}, { persist: true }), /cannot store a message on a public channel/)
  const board = supabase.channel(own('room:board-persist'), { config: { private: true, broadcast: { ack: true } } })
  await join(board)
  if (hasBytes) assert.equal(await board.send({ type: 'broadcast', event: 'e', payload: {}, persist: true }), 'Unauthorized')
  await assert.rejects(board.httpSend('e', {}, { persist: true }), { message: 'Unauthorized' })
})

await finish()
