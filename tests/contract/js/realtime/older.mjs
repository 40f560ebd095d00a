// The changes of tables as supabase-js 1.x asks for them: the channel's name says which.

import assert from 'node:assert/strict'
import { createClient } from 'supabase-js-1'
import { ann, bob, changes, good, inbox, live, own, publishableKey, service, step, token, url } from './members.mjs'

const keeper = service()
const clients = []

function older (options = {}) {
  const made = createClient(url, publishableKey, { autoRefreshToken: false, persistSession: false, realtime: { reconnectAfterMs: () => 50 }, ...options })
  clients.push(made)
  return made
}

// Subscribed once `SUBSCRIBED` was told; a row that must arrive shows that changes flow.
async function listening (query, ...events) {
  const seen = Object.fromEntries(events.map((event) => [event, inbox()]))
  const statuses = inbox()
  for (const event of events) query = query.on(event, seen[event].take)
  const subscription = query.subscribe(statuses.take)
  await statuses.find((status) => status === 'SUBSCRIBED')
  return { subscription, statuses, seen }
}

// Writes until one is seen: 1.x is not told when its subscription is live.
async function flows (seen, write) {
  for (let n = 0; seen.items.length === 0; n += 1) {
    await write(`flow ${n}`)
    await Promise.race([seen.count(1), new Promise((resolve) => setTimeout(resolve, 50))])
  }
}

const addTodo = async (title) => good(await keeper.from('todos').insert({ title: own(title) }).select().single())

await step('a table tells of its rows, each event by itself and all together', async () => {
  const { seen } = await listening(older().from('todos'), 'INSERT', 'UPDATE', 'DELETE', '*')
  await flows(seen['*'], addTodo)
  const { id } = await addTodo('old way')
  good(await keeper.from('todos').update({ done: true }).eq('id', id))
  good(await keeper.from('todos').delete().eq('id', id))
  const removed = await seen.DELETE.find((change) => change.old.id === id)
  const mine = Object.fromEntries(Object.entries(seen).map(([event, { items }]) =>
    [event, items.filter((change) => (change.new.id ?? change.old.id) === id)]))
  const row = { id, title: own('old way'), done: false, details: null }
  assert.deepEqual(mine.INSERT.map(({ commit_timestamp: stamp, ...rest }) => [typeof stamp, rest]),
    [['string', { schema: 'public', table: 'todos', eventType: 'INSERT', new: row, old: {}, errors: null }]])
  assert.deepEqual(mine.UPDATE.map((change) => [change.new, change.old]), [[{ ...row, done: true }, { id }]])
  assert.deepEqual([removed.new, removed.old], [{}, { id }])
  assert.deepEqual(mine['*'].map(({ eventType }) => eventType), ['INSERT', 'UPDATE', 'DELETE'])
})

await step('a filter stands in the name of the channel', async () => {
  const { seen } = await listening(older().from(`todos:title=eq.${own('wanted')}`), 'INSERT')
  await flows(seen.INSERT, () => addTodo('wanted'))
  await addTodo('unwanted')
  const last = await addTodo('wanted')
  await seen.INSERT.find((change) => change.new.id === last.id)
  assert.ok(seen.INSERT.items.every((change) => change.new.title === own('wanted')))
})

await step('a whole schema is heard by `*`', async () => {
  const { seen } = await listening(older().from('*'), '*')
  await flows(seen['*'], addTodo)
  good(await keeper.from('tasks').insert({ title: own('task') }))
  const task = await seen['*'].find(({ table }) => table === 'tasks')
  assert.equal(task.new.title, own('task'))
})

await step('a table may be in another schema', async () => {
  const { seen } = await listening(older({ schema: 'archive' }).from('entries'), 'INSERT')
  await flows(seen.INSERT, async (title) => good(await keeper.schema('archive').from('entries').insert({ title })))
  assert.deepEqual([seen.INSERT.items[0].schema, seen.INSERT.items[0].table], ['archive', 'entries'])
})

await step('the token of a session goes along with the join', async () => {
  const supabase = older()
  supabase.auth.setAuth(token(ann))
  const { seen } = await listening(supabase.from('notes'), 'INSERT')
  const addNote = async (owner, body) => good(await keeper.from('notes').insert({ owner, body }))
  await flows(seen.INSERT, (body) => Promise.all([addNote(bob, body), addNote(ann, body)]))
  assert.ok(seen.INSERT.items.every((change) => change.new.owner === ann))
})

await step('what is unsubscribed from is not told', async () => {
  const supabase = older()
  const { subscription, statuses, seen } = await listening(supabase.from('todos'), 'INSERT')
  const other = await listening(supabase.from('tasks'), 'INSERT')
  await flows(seen.INSERT, addTodo)
  await flows(other.seen.INSERT, async (title) => good(await keeper.from('tasks').insert({ title })))
  assert.deepEqual(await supabase.removeSubscription(subscription), { data: { openSubscriptions: 1 }, error: null })
  await statuses.find((status) => status === 'CLOSED')
  await addTodo('after')
  good(await keeper.from('tasks').insert({ title: own('fence') }))
  await other.seen.INSERT.find((change) => change.new.title === own('fence'))
  assert.equal(seen.INSERT.items.some((change) => change.new.title === own('after')), false)
  assert.equal((await supabase.removeAllSubscriptions()).length, 1)
})

await step('realtime.setAuth() decides who sees a row on a live channel', async () => {
  const supabase = older()
  const addNote = async (owner, body) => good(await keeper.from('notes').insert({ owner, body }).select().single())
  const witness = keeper.channel(own('witness'))
  const all = changes(witness, { event: 'INSERT', table: 'notes' })
  await live(witness)
  const { subscription, seen } = await listening(supabase.from('notes'), 'INSERT')
  await addNote(ann, own('too early'))
  await all.count(1)
  supabase.realtime.setAuth(token(ann))
  await flows(seen.INSERT, (body) => addNote(ann, body))
  supabase.realtime.setAuth(token(bob))
  const bobs = inbox()
  subscription.on('INSERT', ({ record }) => { if (record.owner === bob) bobs.take(record) })
  await flows(bobs, (body) => addNote(bob, own(body)))
  await addNote(ann, own('not any more'))
  const last = await addNote(bob, own('last'))
  await seen.INSERT.find((change) => change.new.id === last.id)
  const bodies = seen.INSERT.items.map((change) => change.new.body)
  assert.deepEqual([own('too early'), own('not any more')].filter((body) => bodies.includes(body)), [])
})

await step('a filter that makes no sense is answered and does no harm', async () => {
  const supabase = older()
  const told = inbox()
  const query = supabase.from('todos:title=nonsense').on('INSERT', () => {})
  query.subscription.on('system', told.take)
  query.subscribe()
  assert.equal((await told.count(1))[0].message, 'Error parsing `filter` params: ["nonsense"]')
  const { seen } = await listening(supabase.from('todos'), 'INSERT')
  await flows(seen.INSERT, addTodo)
})

await Promise.all(clients.map((made) => made.removeAllSubscriptions()))
process.exit(0)
