// Changes of tables: which reach whom, and what is in them.

import assert from 'node:assert/strict'
import { ann, bob, broadcasts, changes, finish, good, inbox, live, member, own, service, step, user } from './members.mjs'

const supabase = member()
const keeper = service()
const add = async (table, ...rows) => good(await supabase.from(table).insert(rows).select())
const titles = (seen) => seen.items.map((change) => (change.new.title ?? change.old.title))
const STAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

// What is left of a change when its time is known to be one.
function timeless ({ commit_timestamp: stamp, ...change }) {
  assert.match(stamp, STAMP)
  assert.ok(Math.abs(Date.parse(stamp) - Date.now()) < 60_000)
  return change
}

await step('each event has its own shape', async () => {
  const channel = supabase.channel(own('events'))
  const [inserts, updates, deletes] = ['INSERT', 'UPDATE', 'DELETE'].map((event) => changes(channel, { event, table: 'todos' }))
  const all = changes(channel, { event: '*', table: 'todos' })
  await live(channel)
  const [{ id }] = await add('todos', { title: own('shape') })
  good(await supabase.from('todos').update({ done: true }).eq('id', id))
  good(await supabase.from('todos').delete().eq('id', id))
  await all.count(3)
  const row = { id, title: own('shape'), done: false, details: null }
  const common = { schema: 'public', table: 'todos', errors: null }
  assert.deepEqual(inserts.items.map(timeless), [{ ...common, eventType: 'INSERT', new: row, old: {} }])
  assert.deepEqual(updates.items.map(timeless), [{ ...common, eventType: 'UPDATE', new: { ...row, done: true }, old: { id } }])
  assert.deepEqual(deletes.items.map(timeless), [{ ...common, eventType: 'DELETE', new: {}, old: { id } }])
  assert.deepEqual(all.items.map(({ eventType }) => eventType), ['INSERT', 'UPDATE', 'DELETE'])
})

await step('REPLICA IDENTITY FULL tells the whole old row', async () => {
  const channel = supabase.channel(own('full'))
  const seen = changes(channel, { table: 'tasks' })
  await live(channel)
  const [row] = await add('tasks', { title: own('full') })
  good(await supabase.from('tasks').update({ done: true }).eq('id', row.id))
  good(await supabase.from('tasks').delete().eq('id', row.id))
  const [, updated, deleted] = await seen.count(3)
  assert.deepEqual([updated.old, deleted.old], [row, { ...row, done: true }])
})

await step('a schema, a table, or all tables of a schema can be heard', async () => {
  const channel = supabase.channel(own('wide'))
  const everything = changes(channel, { schema: '*' })
  const archived = changes(channel, { schema: 'archive' })
  const open = changes(channel, { schema: 'public', table: '*' })
  const tasks = changes(channel, { table: 'tasks' })
  await live(channel)
  await add('todos', { title: own('wide todo') })
  good(await supabase.schema('archive').from('entries').insert({ title: own('wide entry') }))
  await add('tasks', { title: own('wide task') })
  await tasks.count(1)
  const all = ['todo', 'entry', 'task'].map((name) => own(`wide ${name}`))
  assert.deepEqual([everything, archived, open, tasks].map(titles), [all, [all[1]], [all[0], all[2]], [all[2]]])
  assert.deepEqual([archived.items[0].schema, archived.items[0].table], ['archive', 'entries'])
})

await step('several bindings of one channel each get their own changes, and broadcasts go on beside them', async () => {
  const channel = supabase.channel(own('several'), { config: { broadcast: { self: true } } })
  const one = changes(channel, { event: 'INSERT', table: 'todos', filter: `title=eq.${own('one')}` })
  const two = changes(channel, { event: 'INSERT', table: 'todos', filter: `title=in.(${own('one')},${own('two')})` })
  const tasks = changes(channel, { event: 'UPDATE', table: 'tasks' })
  const heard = broadcasts(channel)
  await live(channel)
  const [task] = await add('tasks', { title: own('several') })
  await add('todos', { title: own('one') }, { title: own('two') }, { title: own('three') })
  good(await supabase.from('tasks').update({ done: true }).eq('id', task.id))
  await channel.send({ type: 'broadcast', event: 'e', payload: {} })
  await Promise.all([tasks.count(1), heard.count(1)])
  assert.deepEqual([one, two].map(titles), [[own('one')], [own('one'), own('two')]])
  assert.equal(tasks.items.length, 1)
})

await step('a binding may ask for some columns only', async () => {
  const channel = supabase.channel(own('select'))
  const some = changes(channel, { table: 'todos', select: ['title'] })
  const all = changes(channel, { table: 'todos' })
  await live(channel)
  const [row] = await add('todos', { title: own('select') })
  await Promise.all([some.count(1), all.count(1)])
  assert.deepEqual([some.items[0].new, all.items[0].new], [{ id: row.id, title: own('select') }, row])
})

await step('row-level security decides who sees a row; its end is told to all, by the key alone', async () => {
  const people = { ann: await user(ann), bob: await user(bob), anon: member(), service: service() }
  const seen = {}
  await Promise.all(Object.entries(people).map(async ([name, client]) => {
    const channel = client.channel(own('rls'))
    seen[name] = changes(channel, { table: 'notes' })
    await live(channel)
  }))
  const notes = []
  for (const name of ['ann', 'bob']) {
    notes.push(good(await people[name].from('notes').insert({ body: own(name) }).select().single()))
  }
  good(await people.ann.from('notes').update({ body: own('ann 2') }).eq('id', notes[0].id))
  await Promise.all([seen.ann.count(2), seen.bob.count(1), seen.service.count(3)])
  good(await keeper.from('notes').delete().in('id', notes.map(({ id }) => id)))
  await Promise.all(Object.entries({ ann: 4, bob: 3, anon: 2, service: 5 }).map(([name, number]) => seen[name].count(number)))
  const bodies = (name) => seen[name].items.map(({ new: { body } }) => body).filter((body) => body)
  assert.deepEqual(bodies('ann'), [own('ann'), own('ann 2')])
  assert.deepEqual(bodies('bob'), [own('bob')])
  assert.deepEqual(bodies('anon'), [])
  assert.deepEqual(bodies('service'), [own('ann'), own('bob'), own('ann 2')])
  assert.deepEqual(seen.ann.items[1].old, notes[0])
  for (const { items } of Object.values(seen)) {
    assert.deepEqual(items.slice(-2).map(({ eventType, old }) => [eventType, old]), notes.map(({ id }) => ['DELETE', { id }]))
  }
})

await step('columns that a role may not read are left out', async () => {
  const [open, full] = [supabase, keeper].map((client) => client.channel(own('columns')))
  const [some, all] = [open, full].map((channel) => changes(channel, { table: 'people' }))
  await Promise.all([live(open), live(full)])
  const id = Math.floor(Math.random() * 2 ** 31)
  good(await keeper.from('people').insert({ id, name: 'Ann', salary: 1 }))
  good(await keeper.from('people').update({ salary: 2 }).eq('id', id))
  await Promise.all([some.count(2), all.count(2)])
  assert.deepEqual(some.items.map((change) => [change.new, change.old]), [[{ id, name: 'Ann' }, {}], [{ id, name: 'Ann' }, { id, name: 'Ann' }]])
  assert.deepEqual(all.items[1].new, { id, name: 'Ann', salary: 2 })
})

await step('what cannot be told says why', async () => {
  const channel = supabase.channel(own('untold'))
  const keyless = changes(channel, { table: 'keyless' })
  const secret = changes(channel, { table: 'secrets' })
  await live(channel)
  good(await keeper.from('keyless').insert({ content: 'x' }))
  good(await keeper.from('secrets').insert({ id: Math.floor(Math.random() * 2 ** 31), content: 'x' }))
  const told = [await keyless.count(1), await secret.count(1)].map(([change]) => change)
  assert.deepEqual(told.map(({ new: row, errors, table }) => [table, row, errors]), [
    ['keyless', {}, ['Error 400: Bad Request, no primary key']],
    ['secrets', {}, ['Error 401: Unauthorized']]
  ])
})

await step('values arrive as the REST interface tells them', async () => {
  const channel = supabase.channel(own('values'))
  const seen = changes(channel, { table: 'samples' })
  await live(channel)
  const row = {
    small: -32768, whole: 2147483647, big: 9007199254740991, exact: 1234.5, single: 1.5, double: -0.1, truth: false,
    words: 'Grüße "世界"\n\\ 🚀', few: '', padded: 'ab', day: '2026-02-28', clock: '23:59:59.5', clock_zone: '12:00:00+02',
    moment: '2026-01-01T12:00:00.123456', instant: '2026-01-01T12:00:00.5+02:00', span: '1 day 02:00:00',
    raw: { b: [1, null], a: '' }, tree: { deep: { list: [true, 1.5] } }, bytes: '\\x00ff', numbers: [1, null, 3],
    names: ['a,b', '"', '', '{}'], grid: [[1, 2], [3, 4]], feeling: 'glad', feelings: ['sad', 'glad'],
    home: { street: 'Main, St', number: 1 }, brief: 'short', days: '[2026-01-01,2026-02-01)', address: '192.168.0.1/24',
    spot: '(1,2.5)', price: '12.34', flags: '1010'
  }
  const [stored] = await add('samples', row)
  const [inserted] = await seen.count(1)
  assert.deepEqual(inserted.new, { ...stored, bytes: '00ff' })
  assert.deepEqual([stored.big, stored.tree, stored.names, stored.home], [row.big, row.tree, row.names, row.home])
  const [empty] = await add('samples', {})
  await seen.count(2)
  assert.deepEqual(seen.items[1].new, empty)
})

await step('a large value that an update leaves alone is told all the same', async () => {
  const channel = supabase.channel(own('large'))
  const seen = changes(channel, { event: 'UPDATE', table: 'todos' })
  await live(channel)
  const details = [...Array(9000).keys()].map((n) => (n * 7919 % 65536).toString(36)).join('')
  const [{ id }] = await add('todos', { title: own('large'), details })
  good(await supabase.from('todos').update({ done: true }).eq('id', id))
  const change = await seen.find((each) => each.new.id === id)
  assert.deepEqual(change.new, { id, title: own('large'), done: true, details })
})

await step('what was rolled back never shows', async () => {
  const channel = supabase.channel(own('rollback'))
  const seen = changes(channel, { table: 'todos' })
  await live(channel)
  assert.equal((await supabase.rpc('add_and_fail', { title: own('rolled back') })).error.message, 'not this time')
  await add('todos', { title: own('committed') })
  await seen.count(1)
  assert.deepEqual(titles(seen), [own('committed')])
})

await step('twenty writes at once all arrive within five seconds', async () => {
  const channel = supabase.channel(own('twenty'))
  const seen = changes(channel, { event: 'INSERT', table: 'todos' })
  await live(channel)
  const names = [...Array(20).keys()].map((n) => own(`twenty ${n}`))
  const began = Date.now()
  await Promise.all(names.map((title) => add('todos', { title })))
  await seen.count(20)
  assert.ok(Date.now() - began < 5000, `${Date.now() - began} ms`)
  assert.deepEqual(titles(seen).sort(), names.sort())
})

await step('a change does not overtake the response of the request that made it', async () => {
  const channel = supabase.channel(own('order'))
  const order = inbox()
  channel.on('postgres_changes', { event: 'INSERT', schema: 'public', table: 'tasks' }, (change) => order.take(['change', change.new.id]))
  await live(channel)
  for (const n of Array(10).keys()) {
    const [{ id }] = await add('tasks', { title: own(`order ${n}`) })
    order.take(['response', id])
    await order.count(2 * n + 2)
  }
  assert.deepEqual(order.items.map(([kind]) => kind), Array(10).fill(['response', 'change']).flat())
  for (const n of Array(10).keys()) assert.equal(order.items[2 * n][1], order.items[2 * n + 1][1])
})

await step('a table is heard from as soon as it is published', async () => {
  good(await keeper.rpc('publish_late', { published: true }))
  const channel = supabase.channel(own('late'))
  const seen = changes(channel, { table: 'late' })
  await live(channel)
  const id = Math.floor(Math.random() * 2 ** 31)
  await add('late', { id })
  assert.deepEqual((await seen.count(1))[0].new, { id })
  good(await keeper.rpc('publish_late', { published: false }))
  await add('late', { id: id + 1 })
  good(await keeper.rpc('publish_late', { published: true }))
  await add('late', { id: id + 2 })
  await seen.count(2)
  assert.deepEqual(seen.items[1].new, { id: id + 2 })
  good(await keeper.rpc('publish_late', { published: false }))
})

await finish()
