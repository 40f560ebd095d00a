// explain(): every option and format, of reads, writes and calls. Costs differ between machines; what is asked for does not.

import assert from 'node:assert/strict'
import { answers, client, good, step } from './report.mjs'

const visitor = client()
const players = () => visitor.from('players').select('name')

// A plan as text, in which each of the patterns is found.
async function explained (query, ...patterns) {
  const { data, error, status } = await query
  assert.deepEqual({ error, status }, { error: null, status: 200 })
  assert.equal(typeof data, 'string')
  for (const pattern of patterns) assert.match(data, pattern)
  return data
}

// The first plan of the list that JSON has.
async function plan (query) {
  const { data, error, status } = await query
  assert.deepEqual({ error, status, isList: Array.isArray(data) }, { error: null, status: 200, isList: true })
  return data[0]
}

await step('explain() is the plan as text', () =>
  explained(players().explain(), /^Aggregate {2}\(cost=[\d.]+\.\.[\d.]+ rows=\d+ width=\d+\)/, /Seq Scan on players/))

await step('explain of a filter shows it', () =>
  explained(visitor.from('seats').select('id').eq('id', 3).explain(), /seats/, /\(?id = 3\)?/))

await step('analyze runs the query', async () => {
  const text = await explained(players().explain({ analyze: true }), /actual time=/, /Execution Time: /)
  assert.doesNotMatch(text, /Output: /)
})

await step('verbose names the columns', () => explained(players().explain({ verbose: true }), /Output: .*name/))

await step('settings are shown', () => explained(players().explain({ settings: true }), /Settings: .*search_path = /))

await step('buffers are shown', () => explained(players().explain({ analyze: true, buffers: true }), /Buffers: shared hit=\d+/))

await step('wal is shown where something is written', async () => {
  const written = await plan(visitor.from('tickets').insert({ seat: 'plan-wal' })
    .explain({ analyze: true, wal: true, format: 'json' }).rollback())
  assert.ok('WAL Records' in written.Plan)
})

await step('all options together', () =>
  explained(players().explain({ analyze: true, verbose: true, settings: true, buffers: true, wal: true, format: 'text' }),
    /actual time=/, /Output: /, /Settings: /, /Buffers: /))

await step('format json', async () => {
  const { Plan, ...rest } = await plan(players().explain({ format: 'json' }))
  assert.equal(Plan['Node Type'], 'Aggregate')
  assert.equal(typeof Plan['Total Cost'], 'number')
  assert.equal('Execution Time' in rest, false)
})

await step('format json with options', async () => {
  const explanation = await plan(players().explain({ analyze: true, verbose: true, settings: true, buffers: true, format: 'json' }))
  assert.equal(typeof explanation['Execution Time'], 'number')
  assert.equal(typeof explanation.Settings.search_path, 'string')
  assert.ok(Array.isArray(explanation.Plan.Output))
  assert.equal(typeof explanation.Plan['Shared Hit Blocks'], 'number')
  assert.equal(typeof explanation.Plan['Actual Rows'], 'number')
})

await step('explain of embeds, filters, orders and limits', () =>
  explained(visitor.from('sections').select('name, players(name)').eq('id', 1).order('name').limit(1).explain(),
    /players/, /sections/, /Limit/))

await step('explain of a single row and of csv', async () => {
  await explained(visitor.from('players').select('name').eq('id', 1).single().explain(), /Aggregate/)
  await explained(players().csv().explain({ verbose: true }), /\(cost=/, /Output: /)
})

await step('explain of writes does not write', async () => {
  await explained(visitor.from('tickets').insert({ seat: 'plan-1' }).explain(), /Insert on tickets/)
  await explained(visitor.from('tickets').update({ note: 'x' }).eq('seat', 'plan-1').explain(), /Update on tickets/)
  await explained(visitor.from('tickets').delete().eq('seat', 'plan-1').explain(), /Delete on tickets/)
  await explained(visitor.from('tickets').upsert({ seat: 'plan-1' }, { onConflict: 'seat' }).select().explain(),
    /Insert on tickets/, /Conflict Resolution: UPDATE/)
  await answers(visitor.from('tickets').select('seat').like('seat', 'plan-%'), [])
})

await step('analyze of a write writes, unless it is rolled back', async () => {
  await explained(visitor.from('tickets').insert({ seat: 'plan-2' }).explain({ analyze: true }).rollback(), /Insert on tickets/)
  await answers(visitor.from('tickets').select('seat').eq('seat', 'plan-2'), [])
  await explained(visitor.from('tickets').insert({ seat: 'plan-3' }).explain({ analyze: true }), /Insert on tickets/)
  good(await visitor.from('tickets').delete().eq('seat', 'plan-3').select().single())
})

await step('explain of a call', () =>
  explained(visitor.rpc('players_of', { section: 1 }).select('name').explain(), /players/))
