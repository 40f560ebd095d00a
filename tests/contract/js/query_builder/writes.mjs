// insert(), upsert(), update() and delete() with every option, what they return, what they refuse, and what rollback() undoes.
// Each step keeps to tickets of its own letter.

import assert from 'node:assert/strict'
import { answers, client, good, refuses, step } from './report.mjs'

const visitor = client()
const tickets = () => visitor.from('tickets')
const shelves = () => visitor.from('shelves')
const stored = async (prefix, columns = 'seat, price, status, note') =>
  good(await tickets().select(columns).like('seat', `${prefix}%`).order('seat'))

await step('insert stores a row and returns nothing', async () => {
  await answers(tickets().insert({ seat: 'A1', price: 30 }), null, { status: 201 })
  assert.deepEqual(await stored('A'), [{ seat: 'A1', price: 30, status: 'free', note: null }])
})

await step('insert returns the row when it is selected', async () => {
  const { data, error, status } = await tickets().insert({ seat: 'B1', note: 'aisle' }).select()
  assert.deepEqual({ error, status }, { error: null, status: 201 })
  const [{ id, ...row }] = data
  assert.equal(typeof id, 'number')
  assert.deepEqual(row,
    { seat: 'B1', price: 25, status: 'free', note: 'aisle', meta: {}, player_id: null, label: 'Seat B1' })
})

await step('insert returns the columns, embeds and shapes that are selected', async () => {
  await answers(tickets().insert({ seat: 'C1', player_id: 2 }).select('seat, cost:price::text, players(name)'),
    [{ seat: 'C1', cost: '25.00', players: { name: 'Bruno' } }], { status: 201 })
  await answers(tickets().insert({ seat: 'C2', player_id: 3 }).select('label, ...players(holder:name)').single(),
    { label: 'Seat C2', holder: 'Chloe' }, { status: 201 })
})

await step('insert of many rows', async () => {
  await answers(tickets().insert([{ seat: 'D1', price: 10 }, { seat: 'D2', price: 20 }]), null, { status: 201 })
  await answers(tickets().insert([{ seat: 'D3' }, { seat: 'D4' }]).select('seat').order('seat', { ascending: false }),
    [{ seat: 'D4' }, { seat: 'D3' }], { status: 201 })
})

await step('insert of no rows', () => answers(tickets().insert([]).select(), [], { status: 201 }))

await step('what many rows do not share is null', () =>
  answers(tickets().insert([{ seat: 'E1', note: 'x' }, { seat: 'E2', status: 'sold' }]).select('seat, status, note').order('seat'),
    [{ seat: 'E1', status: null, note: 'x' }, { seat: 'E2', status: 'sold', note: null }], { status: 201 }))

await step('what many rows do not share is its default with defaultToNull: false', async () => {
  await answers(tickets().insert([{ seat: 'F1', price: 5, note: 'x' }, { seat: 'F2', status: 'sold' }], { defaultToNull: false })
    .select('seat, price, status, note').order('seat'),
  [{ seat: 'F1', price: 5, status: 'free', note: 'x' }, { seat: 'F2', price: 25, status: 'sold', note: null }], { status: 201 })
  await answers(tickets().insert([{ seat: 'F3' }, { seat: 'F4', meta: { a: 1 } }], { defaultToNull: false })
    .select('seat, meta').order('seat'), [{ seat: 'F3', meta: {} }, { seat: 'F4', meta: { a: 1 } }], { status: 201 })
})

await step('an explicit null is null with defaultToNull: false', () =>
  answers(tickets().insert([{ seat: 'F5', status: null }], { defaultToNull: false }).select('seat, status'),
    [{ seat: 'F5', status: null }], { status: 201 }))

await step('a row of one object takes its defaults', () =>
  answers(tickets().insert({ seat: 'F6' }).select('price, status'), [{ price: 25, status: 'free' }], { status: 201 }))

await step('insert counts', async () => {
  await answers(tickets().insert([{ seat: 'G1' }, { seat: 'G2' }], { count: 'exact' }), null, { status: 201, count: 2 })
  await answers(tickets().insert({ seat: 'G3' }, { count: 'estimated' }).select('seat'), [{ seat: 'G3' }], { status: 201, count: 1 })
  const { error, status } = await tickets().insert({ seat: 'G4' }, { count: 'planned' })
  assert.deepEqual({ error, status }, { error: null, status: 201 })
})

await step('insert of JSON, dates, large numbers, bytes, and text of any kind', async () => {
  const meta = { list: [1, 'two', null], deep: { 'key with "quotes"': 'ünï ☂ \\ \' "' } }
  await answers(tickets().insert({ seat: 'H1', meta, note: '日本 "quoted", (bracketed)\n\ttabbed' }).select('meta, note').single(),
    { meta, note: '日本 "quoted", (bracketed)\n\ttabbed' }, { status: 201 })
  await answers(visitor.from('ledger').insert({
    id: 1, amount: 9007199254740993n, paid_at: new Date('2026-03-04T05:06:07.008Z'), payload: '\\x00ff'
  }).select('amount::text, paid_at, payload'),
  [{ amount: '9007199254740993', paid_at: '2026-03-04T05:06:07.008+00:00', payload: '\\x00ff' }], { status: 201 })
})

await step('insert into a table without a key', async () => {
  const { data, status } = await visitor.from('guest_book').insert({ line: 'was here' }).select()
  assert.deepEqual({ status, line: data[0].line }, { status: 201, line: 'was here' })
  assert.match(data[0].written_at, /^\d{4}-\d{2}-\d{2}T.+\+00:00$/)
})

await step('insert into a view, and its check', async () => {
  await answers(visitor.from('free_tickets').insert({ seat: 'I1', status: 'free' }).select('seat, status'),
    [{ seat: 'I1', status: 'free' }], { status: 201 })
  await refuses(visitor.from('free_tickets').insert({ seat: 'I2', status: 'sold' }),
    { status: 400, code: '44000', message: 'new row violates check option for view "free_tickets"' })
})

await step('insert refuses what is there, in whole', async () => {
  good(await tickets().insert({ seat: 'J1' }))
  await refuses(tickets().insert([{ seat: 'J2' }, { seat: 'J1' }]), {
    status: 409,
    code: '23505',
    message: 'duplicate key value violates unique constraint "tickets_seat_key"',
    details: 'Key (seat)=(J1) already exists.',
    hint: null
  })
  assert.deepEqual(await stored('J', 'seat'), [{ seat: 'J1' }])
})

await step('single on an insert of two refuses both', async () => {
  await refuses(tickets().insert([{ seat: 'K1' }, { seat: 'K2' }]).select('seat').single(),
    { status: 406, code: 'PGRST116', details: 'The result contains 2 rows' })
  assert.deepEqual(await stored('K'), [])
})

await step('upsert inserts and updates by the primary key', async () => {
  await answers(shelves().upsert({ room: 'L', slot: 1, content: 'harp' }).select(), [{ room: 'L', slot: 1, content: 'harp' }],
    { status: 201 })
  await answers(shelves().upsert({ room: 'L', slot: 1, content: 'lute' }).select(), [{ room: 'L', slot: 1, content: 'lute' }],
    { status: 200 })
})

await step('upsert of many rows, some of them new', async () => {
  good(await shelves().insert({ room: 'M', slot: 1, content: 'old' }))
  await answers(shelves().upsert([{ room: 'M', slot: 1, content: 'new' }, { room: 'M', slot: 2, content: 'first' }]).select().order('slot'),
    [{ room: 'M', slot: 1, content: 'new' }, { room: 'M', slot: 2, content: 'first' }], { status: 201 })
})

await step('upsert returns nothing when nothing is selected', async () => {
  await answers(shelves().upsert({ room: 'N', slot: 1, content: 'a' }), null, { status: 201 })
  await answers(shelves().upsert({ room: 'N', slot: 1, content: 'b' }), null, { status: 200 })
  await answers(shelves().select().eq('room', 'N'), [{ room: 'N', slot: 1, content: 'b' }])
})

await step('upsert by another unique column', async () => {
  good(await tickets().insert({ seat: 'O1', note: 'before', price: 7 }))
  await answers(tickets().upsert([{ seat: 'O1', note: 'after' }, { seat: 'O2', note: 'fresh' }], { onConflict: 'seat' })
    .select('seat, note').order('seat'),
  [{ seat: 'O1', note: 'after' }, { seat: 'O2', note: 'fresh' }], { status: 201 })
  assert.deepEqual(await stored('O', 'seat, price'), [{ seat: 'O1', price: 7 }, { seat: 'O2', price: 25 }])
})

await step('upsert by several columns', async () => {
  good(await shelves().insert({ room: 'P', slot: 1, content: 'x' }))
  await answers(shelves().upsert({ room: 'P', slot: 1, content: 'y' }, { onConflict: 'room,slot' }).select('content'),
    [{ content: 'y' }], { status: 200 })
})

await step('upsert without the right key refuses what is there', async () => {
  good(await tickets().insert({ seat: 'Q1' }))
  await refuses(tickets().upsert({ seat: 'Q1', note: 'again' }), { status: 409, code: '23505', details: 'Key (seat)=(Q1) already exists.' })
})

await step('upsert by columns that are not unique is refused', () =>
  refuses(tickets().upsert({ seat: 'Q2' }, { onConflict: 'note' }), {
    status: 400, code: '42P10', message: 'there is no unique or exclusion constraint matching the ON CONFLICT specification'
  }))

await step('ignoreDuplicates keeps what is there', async () => {
  good(await shelves().insert({ room: 'R', slot: 1, content: 'kept' }))
  const rows = [{ room: 'R', slot: 1, content: 'lost' }, { room: 'R', slot: 2, content: 'new' }]
  await answers(shelves().upsert(rows, { ignoreDuplicates: true }).select(), [{ room: 'R', slot: 2, content: 'new' }], { status: 201 })
  await answers(shelves().upsert({ room: 'R', slot: 1, content: 'lost' }, { ignoreDuplicates: true }).select(), [], { status: 201 })
  await answers(shelves().select('content').eq('room', 'R').order('slot'), [{ content: 'kept' }, { content: 'new' }])
})

await step('ignoreDuplicates with another unique column', async () => {
  good(await tickets().insert({ seat: 'S1', note: 'kept' }))
  const rows = [{ seat: 'S1', note: 'lost' }, { seat: 'S2', note: 'new' }]
  await answers(tickets().upsert(rows, { onConflict: 'seat', ignoreDuplicates: true }).select('seat, note'),
    [{ seat: 'S2', note: 'new' }], { status: 201 })
})

await step('upsert counts', () =>
  answers(shelves().upsert([{ room: 'T', slot: 1 }, { room: 'T', slot: 2 }, { room: 'T', slot: 3 }], { count: 'exact' }), null,
    { status: 201, count: 3 }))

await step('upsert with defaultToNull: false makes keys for the new rows', async () => {
  const { id } = good(await tickets().insert({ seat: 'U1', note: 'before' }).select('id').single())
  await answers(tickets().upsert([{ id, seat: 'U1', note: 'after' }, { seat: 'U2', note: 'new' }], { defaultToNull: false })
    .select('seat, note, price').order('seat'),
  [{ seat: 'U1', note: 'after', price: 25 }, { seat: 'U2', note: 'new', price: 25 }], { status: 201 })
})

await step('update changes the rows of its filters and returns nothing', async () => {
  good(await tickets().insert([{ seat: 'V1' }, { seat: 'V2' }]))
  await answers(tickets().update({ note: 'sold out', price: 1.5 }).eq('seat', 'V1'), null, { status: 204 })
  assert.deepEqual(await stored('V', 'seat, price, note'),
    [{ seat: 'V1', price: 1.5, note: 'sold out' }, { seat: 'V2', price: 25, note: null }])
})

await step('update returns what is selected', async () => {
  good(await tickets().insert([{ seat: 'W1', player_id: 1 }, { seat: 'W2', player_id: 2 }]))
  await answers(tickets().update({ status: 'sold' }).like('seat', 'W%').select('seat, status, players(name)')
    .order('seat', { ascending: false }), [
    { seat: 'W2', status: 'sold', players: { name: 'Bruno' } }, { seat: 'W1', status: 'sold', players: { name: 'Anna' } }
  ])
  await answers(tickets().update({ player_id: 5 }).eq('seat', 'W1').select('...players(name)').single(), { name: 'Emil' })
})

await step('update of nothing', async () => {
  await answers(tickets().update({ note: 'x' }).eq('seat', 'nowhere'), null, { status: 204 })
  await answers(tickets().update({ note: 'x' }).eq('seat', 'nowhere').select(), [])
  await answers(tickets().update({}).like('seat', 'V%').select(), [])
  await answers(tickets().update({}).like('seat', 'V%'), null, { status: 204 })
})

await step('update counts', async () => {
  good(await tickets().insert([{ seat: 'X1' }, { seat: 'X2' }]))
  await answers(tickets().update({ note: 'counted' }, { count: 'exact' }).like('seat', 'X%'), null, { status: 204, count: 2 })
  await answers(tickets().update({ note: 'again' }, { count: 'exact' }).eq('seat', 'X1').select('seat'), [{ seat: 'X1' }], { count: 1 })
  await answers(tickets().update({ note: 'none' }, { count: 'exact' }).eq('seat', 'nowhere'), null, { status: 204, count: 0 })
  await answers(tickets().update({ note: 'guess' }, { count: 'estimated' }).eq('seat', 'X2'), null, { status: 204, count: 1 })
})

await step('update sets null, JSON, and by or, in, not and paths', async () => {
  good(await tickets().insert([{ seat: 'Y1', meta: { row: 1 } }, { seat: 'Y2', meta: { row: 2 } }, { seat: 'Y3', meta: { row: 3 } }]))
  await answers(tickets().update({ status: null, meta: { row: [1] } }).eq('meta->row', 1).like('seat', 'Y%').select('seat, status, meta'),
    [{ seat: 'Y1', status: null, meta: { row: [1] } }])
  await answers(tickets().update({ note: 'or' }).or('seat.eq.Y2,seat.eq.Y3').select('seat').order('seat'), [{ seat: 'Y2' }, { seat: 'Y3' }])
  await answers(tickets().update({ note: 'in' }).in('seat', ['Y1', 'Y2']).not('seat', 'eq', 'Y1').select('seat, note'),
    [{ seat: 'Y2', note: 'in' }])
})

await step('update through a view', async () => {
  good(await tickets().insert({ seat: 'Z1' }))
  await refuses(visitor.from('free_tickets').update({ status: 'sold' }).eq('seat', 'Z1'), { status: 400, code: '44000' })
  await answers(visitor.from('free_tickets').update({ seat: 'Z2' }).eq('seat', 'Z1').select('seat'), [{ seat: 'Z2' }])
})

await step('single on an update of many refuses them all', async () => {
  good(await tickets().insert([{ seat: 'a1' }, { seat: 'a2' }]))
  await refuses(tickets().update({ note: 'x' }).like('seat', 'a%').select().single(),
    { status: 406, code: 'PGRST116', details: 'The result contains 2 rows' })
  assert.deepEqual(await stored('a', 'note'), [{ note: null }, { note: null }])
})

await step('delete removes the rows of its filters', async () => {
  good(await tickets().insert([{ seat: 'b1' }, { seat: 'b2' }, { seat: 'b3' }, { seat: 'b4' }]))
  await answers(tickets().delete().eq('seat', 'b1'), null, { status: 204 })
  await answers(tickets().delete().in('seat', ['b2', 'b3']).select('seat, players(name)').order('seat'),
    [{ seat: 'b2', players: null }, { seat: 'b3', players: null }])
  await answers(tickets().delete().eq('seat', 'b1').select(), [])
  assert.deepEqual(await stored('b', 'seat'), [{ seat: 'b4' }])
})

await step('delete counts', async () => {
  good(await tickets().insert([{ seat: 'c1' }, { seat: 'c2' }, { seat: 'c3' }]))
  await answers(tickets().delete({ count: 'exact' }).in('seat', ['c1', 'c2']), null, { status: 204, count: 2 })
  await answers(tickets().delete({ count: 'exact' }).eq('seat', 'nowhere'), null, { status: 204, count: 0 })
  await answers(tickets().delete({ count: 'estimated' }).eq('seat', 'c3').select('seat'), [{ seat: 'c3' }], { count: 1 })
})

await step('delete of one row gives it', async () => {
  good(await tickets().insert({ seat: 'd1' }))
  await answers(tickets().delete().eq('seat', 'd1').select('seat').single(), { seat: 'd1' })
  await answers(tickets().delete().eq('seat', 'd1').select('seat').maybeSingle(), null)
})

await step('maxAffected lets no more be written', async () => {
  good(await tickets().insert([{ seat: 'e1' }, { seat: 'e2' }, { seat: 'e3' }]))
  const refusal = {
    status: 400,
    code: 'PGRST124',
    message: 'Query result exceeds max-affected preference constraint',
    details: 'The query affects 3 rows',
    hint: null
  }
  await refuses(tickets().update({ note: 'x' }).like('seat', 'e%').maxAffected(2), refusal)
  await refuses(tickets().delete().like('seat', 'e%').select().maxAffected(2), refusal)
  assert.deepEqual(await stored('e', 'seat, note'), [{ seat: 'e1', note: null }, { seat: 'e2', note: null }, { seat: 'e3', note: null }])
  await answers(tickets().update({ note: 'x' }).like('seat', 'e%').maxAffected(3), null, { status: 204 })
  await answers(tickets().delete().eq('seat', 'e1').maxAffected(1).select('seat'), [{ seat: 'e1' }])
})

await step('rollback answers as if, and undoes', async () => {
  good(await tickets().insert({ seat: 'f1', note: 'stays' }))
  await answers(tickets().insert({ seat: 'f2' }).select('seat').rollback(), [{ seat: 'f2' }], { status: 201 })
  await answers(tickets().upsert({ seat: 'f1', note: 'upserted' }, { onConflict: 'seat' }).select('note').rollback().single(),
    { note: 'upserted' })
  await answers(tickets().update({ note: 'updated' }).eq('seat', 'f1').select('note').rollback(), [{ note: 'updated' }])
  await answers(tickets().delete().eq('seat', 'f1').rollback(), null, { status: 204 })
  assert.deepEqual(await stored('f', 'seat, note'), [{ seat: 'f1', note: 'stays' }])
})

await step('a written row in another format', async () => {
  await answers(shelves().insert({ room: 'g', slot: 1, content: 'x' }).select().csv(), 'room,slot,content\ng,1,x', { status: 201 })
  await answers(shelves().update({ content: null }).eq('room', 'g').select('room, content').stripNulls(), [{ room: 'g' }])
})

await step('constraints speak in the words of PostgreSQL', async () => {
  await refuses(visitor.from('measures').insert({ id: 1 }), {
    status: 400,
    code: '23502',
    message: 'null value in column "beats" of relation "measures" violates not-null constraint',
    details: 'Failing row contains (1, null).',
    hint: null
  })
  await refuses(visitor.from('measures').insert({ id: 1, beats: 0 }), {
    status: 400, code: '23514', message: 'new row for relation "measures" violates check constraint "measures_beats_check"'
  })
  await refuses(tickets().insert({ seat: 'h1', player_id: 99 }), {
    status: 409,
    code: '23503',
    message: 'insert or update on table "tickets" violates foreign key constraint "tickets_player_id_fkey"',
    details: 'Key (player_id)=(99) is not present in table "players".'
  })
  await refuses(visitor.from('sections').delete().eq('id', 1), {
    status: 409, code: '23503', details: 'Key (id)=(1) is still referenced from table "players".'
  })
})

await step('values of the wrong type, and columns that cannot be written', async () => {
  await refuses(visitor.from('measures').insert({ id: 2, beats: 'many' }),
    { status: 400, code: '22P02', message: 'invalid input syntax for type integer: "many"' })
  await refuses(tickets().update({ label: 'mine' }).eq('seat', 'A1'), { status: 400, code: '428C9' })
  await refuses(tickets().insert({ seat: 'i1', price: 1e9 }), { status: 400, code: '22003', message: 'numeric field overflow' })
})

await step('columns that are not there', async () => {
  await refuses(tickets().insert({ seat: 'j1', colour: 'red' }), {
    status: 400,
    code: 'PGRST204',
    message: "Could not find the 'colour' column of 'tickets' in the schema cache",
    details: null,
    hint: null
  })
  await refuses(tickets().update({ colour: 'red' }).eq('seat', 'A1'), { status: 400, code: 'PGRST204' })
  await refuses(tickets().insert([{ seat: 'j2' }, { seat: 'j3', colour: 'red' }]), { status: 400, code: 'PGRST204' })
})
