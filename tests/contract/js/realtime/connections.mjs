// Channels and sockets that end on purpose, and those that are cut and come back by themselves.

import assert from 'node:assert/strict'
import { connect, createServer } from 'node:net'
import { broadcasts, changes, finish, good, inbox, join, live, member, own, publishableKey, secretKey, service, step, url, vsn } from './members.mjs'

const keeper = service()

// A way to the server that can be cut.
async function cable () {
  const { hostname, port } = new URL(url)
  const ends = new Set()
  let isCut = false
  const server = createServer((near) => {
    if (isCut) return near.destroy()
    const far = connect(Number(port), hostname)
    for (const [one, other] of [[near, far], [far, near]]) {
      ends.add(one)
      one.pipe(other)
      one.on('error', () => {})
      one.on('close', () => { ends.delete(one); other.destroy() })
    }
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    cut () { isCut = true; for (const end of ends) end.destroy() },
    mend () { isCut = false },
    close: () => server.close()
  }
}

// The server knows what a client has received once its ping came back, which went out in front of a reply: a client that is
// cut before is told to load its data anew instead.
async function settle (channel) {
  for (const event of ['once', 'twice']) {
    assert.equal(await channel.send({ type: 'broadcast', event, payload: {} }), 'ok')
  }
}

await step('a channel that is left hears nothing more, and the others on its socket go on', async () => {
  const supabase = member()
  const [left, kept] = [own('left'), own('kept')].map((name) => supabase.channel(name))
  const [silent, heard] = [left, kept].map((channel) => broadcasts(channel))
  const statuses = inbox()
  await Promise.all([join(left, statuses), join(kept)])
  assert.equal(supabase.getChannels().length, 2)
  assert.equal(await left.unsubscribe(), 'ok')
  assert.deepEqual(statuses.items, ['SUBSCRIBED', 'CLOSED'])
  assert.deepEqual(supabase.getChannels(), [kept])
  const sender = member()
  for (const name of [own('left'), own('kept')]) await sender.channel(name).httpSend('e', {})
  await heard.count(1)
  assert.deepEqual(silent.items, [])
  const again = supabase.channel(own('left'))
  const anew = broadcasts(again)
  await join(again)
  await sender.channel(own('left')).httpSend('again', {})
  assert.equal((await anew.count(1))[0].event, 'again')
})

await step('removeChannel() and removeAllChannels() leave nothing behind', async () => {
  const supabase = member()
  const rooms = [1, 2, 3].map((n) => supabase.channel(own(`removed ${n}`)))
  await Promise.all(rooms.map((channel) => join(channel)))
  assert.equal(await supabase.removeChannel(rooms[0]), 'ok')
  assert.equal(supabase.getChannels().length, 2)
  assert.deepEqual(await supabase.removeAllChannels(), ['ok', 'ok'])
  assert.deepEqual(supabase.getChannels(), [])
  assert.equal(supabase.realtime.isConnected(), false)
})

await step('what is no longer subscribed to is not told', async () => {
  const supabase = member()
  const [first, second] = ['first', 'second'].map((name) => supabase.channel(own(name)))
  const [gone, seen] = [first, second].map((channel) => changes(channel, { event: 'INSERT', table: 'todos' }))
  await Promise.all([live(first), live(second)])
  await supabase.removeChannel(first)
  good(await keeper.from('todos').insert({ title: own('gone') }))
  await seen.count(1)
  assert.deepEqual(gone.items, [])
})

await step('the client connects, beats and disconnects, and tells its state', async () => {
  const beats = inbox()
  const supabase = member({ realtime: { heartbeatIntervalMs: 100, logLevel: 'info' } })
  const { realtime } = supabase
  realtime.onHeartbeat(beats.take)
  assert.equal(realtime.connectionState(), 'closed')
  assert.match(realtime.endpointURL(), new RegExp(`/realtime/v1/websocket\\?.*vsn=${vsn}`))
  realtime.connect()
  assert.equal(realtime.isConnecting(), true)
  const channel = supabase.channel(own('state'))
  const heard = broadcasts(channel)
  await join(channel)
  assert.deepEqual([realtime.connectionState(), realtime.isConnected(), realtime.hasLogger()], ['open', true, true])
  await realtime.sendHeartbeat()
  await beats.until(() => beats.items.filter((status) => status === 'ok').length >= 2)
  assert.equal(beats.items.includes('timeout'), false)
  realtime.log('test', 'a word')
  realtime.push({ topic: 'realtime:elsewhere', event: 'nonsense', payload: {}, ref: '999' })
  await member().channel(own('state')).httpSend('still here', {})
  await heard.count(1)
  const closing = realtime.disconnect()
  assert.equal(realtime.isDisconnecting(), true)
  assert.equal(await closing, 'ok')
  assert.equal(realtime.isConnected(), false)
})

await step('a socket that is cut comes back, its channels join again, and nothing was missed', async () => {
  const line = await cable()
  const supabase = member({ at: line.url })
  const channel = supabase.channel(own('cut'), { config: { broadcast: { ack: true }, presence: { key: 'cut' } } })
  const seen = changes(channel, { event: 'INSERT', table: 'todos' })
  const heard = broadcasts(channel)
  channel.on('presence', { event: 'sync' }, () => {})
  const statuses = inbox()
  const watcher = member().channel(own('cut'))
  const [left, came] = [inbox(), inbox()]
  watcher.on('presence', { event: 'leave' }, left.take)
  watcher.on('presence', { event: 'join' }, came.take)
  await Promise.all([live(channel, statuses), join(watcher)])
  await channel.track({ name: 'Cut' })
  const add = async (title) => good(await keeper.from('todos').insert({ title: own(title) }).select().single())
  await add('before')
  await seen.count(1)
  await settle(channel)

  line.cut()
  await statuses.find((status) => status === 'CHANNEL_ERROR')
  await left.find(({ key }) => key === 'cut')
  await add('meanwhile')
  line.mend()
  await statuses.until(() => statuses.items.filter((status) => status === 'SUBSCRIBED').length === 2)
  await add('after')
  await member().channel(own('cut')).httpSend('again', {})
  await channel.track({ name: 'Cut' })
  await Promise.all([seen.find((change) => change.new.title === own('after')), heard.count(1), came.count(2)])
  // What the server cannot know to have arrived may come twice.
  assert.deepEqual([...new Set(seen.items.map((change) => change.new.title))], ['before', 'meanwhile', 'after'].map(own))
  line.close()
})

await step('several who are cut at once all get what they missed', async () => {
  const line = await cable()
  const cut = [1, 2, 3].map(() => {
    const channel = member({ at: line.url }).channel(own('flock'), { config: { broadcast: { ack: true } } })
    return { channel, seen: changes(channel, { event: 'INSERT', table: 'todos' }), statuses: inbox() }
  })
  await Promise.all(cut.map(({ channel, statuses }) => live(channel, statuses)))
  await Promise.all(cut.map(({ channel }) => settle(channel)))
  line.cut()
  await Promise.all(cut.map(({ statuses }) => statuses.find((status) => status === 'CHANNEL_ERROR')))
  good(await keeper.from('todos').insert({ title: own('flock') }))
  line.mend()
  await Promise.all(cut.map(({ seen }) => seen.find((change) => change.new.title === own('flock'))))
  line.close()
})

await step('a client that has disconnected can connect again', async () => {
  const supabase = member()
  const channel = supabase.channel(own('once'))
  await join(channel)
  await supabase.realtime.disconnect(1000, 'enough')
  await supabase.removeChannel(channel)
  const again = supabase.channel(own('twice'))
  const heard = broadcasts(again)
  await join(again)
  await member().channel(own('twice')).httpSend('e', {})
  await heard.count(1)
})

await step('bindings can be copied and the join changed before it happens; a channel is torn down without a word', async () => {
  const supabase = member()
  const [model, channel] = ['model', 'copy'].map((name) => supabase.channel(own(name)))
  const heard = broadcasts(model, 'e')
  channel.copyBindings(model)
  channel.updateJoinPayload({ note: 'which no server reads' })
  await join(channel)
  await member().channel(own('copy')).httpSend('e', {})
  await heard.count(1)
  channel.teardown()
  assert.equal(channel.state, 'closed')
  assert.deepEqual(model.presenceState(), {})
})

await step('a wrong key never connects', async () => {
  const statuses = inbox()
  const opened = inbox()
  class Counted extends WebSocket {
    constructor (...given) {
      super(...given)
      this.addEventListener('open', () => opened.take('open'))
    }
  }
  const supabase = member({ key: `${publishableKey.slice(0, -1)}${publishableKey.endsWith('a') ? 'b' : 'a'}`, realtime: { transport: Counted } })
  await assert.rejects(join(supabase.channel(own('wrong key')), statuses))
  assert.deepEqual([statuses.items[0], opened.items], ['CHANNEL_ERROR', []])
  await supabase.realtime.disconnect()
  const right = member({ key: secretKey })
  await join(right.channel(own('right key')))
})

await finish()
