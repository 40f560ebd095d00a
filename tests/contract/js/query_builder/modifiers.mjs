// What turns an answer into another: order, limits, ranges, single rows, formats, headers, signals, and the builder's own switches.

import assert from 'node:assert/strict'
import { PostgrestError } from '@supabase/supabase-js'
import { answers, client, good, refuses, step } from './report.mjs'

const visitor = client()
const players = (columns = 'id') => visitor.from('players').select(columns)
const ids = (...all) => all.map((id) => ({ id }))

await step('order, up and down', async () => {
  await answers(players().order('name'), ids(1, 2, 3, 4, 5, 6))
  await answers(players().order('name', { ascending: true }), ids(1, 2, 3, 4, 5, 6))
  await answers(players().order('name', { ascending: false }), ids(6, 5, 4, 3, 2, 1))
})

await step('order by several columns', async () => {
  await answers(players().order('fee').order('id', { ascending: false }), ids(6, 5, 2, 3, 1, 4))
  await answers(players().order('section_id', { ascending: false, nullsFirst: false }).order('id'), ids(5, 3, 4, 1, 2, 6))
})

await step('nulls come last upwards and first downwards, or where they are put', async () => {
  await answers(players().order('active').order('id'), ids(3, 6, 1, 2, 5, 4))
  await answers(players().order('active', { ascending: false }).order('id'), ids(4, 1, 2, 5, 3, 6))
  await answers(players().order('active', { nullsFirst: true }).order('id'), ids(4, 3, 6, 1, 2, 5))
  await answers(players().order('active', { ascending: false, nullsFirst: false }).order('id'), ids(1, 2, 5, 3, 6, 4))
})

await step('order by an enum, a JSON path, a field, a computed column', async () => {
  await answers(players().order('rank').order('id'), ids(2, 5, 3, 1, 4, 6))
  await answers(players().order('details->born', { ascending: false, nullsFirst: false }).limit(4), ids(4, 3, 2, 1))
  await answers(players().order('details->>city').limit(3), ids(3, 1, 2))
  await answers(players().order('home->>street', { ascending: false, nullsFirst: false }).limit(2), ids(2, 1))
  await answers(players().order('initial', { ascending: false }).limit(1), ids(6))
})

await step('limit', async () => {
  await answers(players().order('id').limit(2), ids(1, 2))
  await answers(players().order('id').limit(0), [])
})

await step('range has both its ends', async () => {
  await answers(players().order('id').range(1, 3), ids(2, 3, 4))
  await answers(players().order('id').range(0, 0), ids(1))
  await answers(players().order('id').range(4, 100), ids(5, 6))
})

await step('a range after the last row is empty, and is refused when a count says so', async () => {
  await answers(players().order('id').range(10, 12), [])
  await answers(visitor.from('players').select('id', { count: 'exact' }).order('id').range(6, 7), [], { status: 206, count: 6 })
  await refuses(visitor.from('players').select('id', { count: 'exact' }).order('id').range(10, 12), {
    status: 416,
    code: 'PGRST103',
    message: 'Requested range not satisfiable',
    details: 'An offset of 10 was requested, but there are only 6 rows.',
    hint: null
  })
})

await step('single gives the one row', () => answers(players('id, name').eq('id', 1).single(), { id: 1, name: 'Anna' }))

await step('single refuses none and many', async () => {
  const refusal = (rows) => ({
    status: 406,
    code: 'PGRST116',
    message: 'Cannot coerce the result to a single JSON object',
    details: `The result contains ${rows} rows`,
    hint: null
  })
  await refuses(players().eq('id', 99).single(), refusal(0))
  await refuses(players().lt('id', 4).single(), refusal(3))
})

await step('maybeSingle gives the row, or null', async () => {
  await answers(players('name').eq('id', 1).maybeSingle(), { name: 'Anna' })
  await answers(players('name').eq('id', 99).maybeSingle(), null)
})

await step('maybeSingle refuses many', () =>
  refuses(players().lt('id', 4).maybeSingle(), {
    status: 406, code: 'PGRST116', details: 'Results contain 3 rows, application/vnd.pgrst.object+json requires 1 row'
  }))

await step('csv has a line of names and a line for each row', async () => {
  await answers(visitor.from('sections').select().order('id').csv(),
    'id,name\n1,Strings\n2,Woodwinds\n3,Brass\n4,Percussion')
  await answers(players('name,instruments,fee,active').order('id').in('id', [1, 4, 6]).csv(),
    'name,instruments,fee,active\nAnna,"{violin,viola}",120.50,t\nDora,{oboe},,\n"Fay (Jr), Lee",{},0.00,f')
})

await step('csv of no rows is empty', async () => {
  const { data, error } = await visitor.from('sections').select().eq('id', 99).csv()
  assert.equal(error, null)
  assert.equal((data ?? '').trim(), '')
})

await step('geojson makes features of rows', async () => {
  if (!good(await visitor.rpc('has_postgis'))) return
  await answers(visitor.from('halls').select().order('id').geojson(), {
    type: 'FeatureCollection',
    features: [
      { type: 'Feature', geometry: { type: 'Point', coordinates: [24.1, 56.95] }, properties: { id: 1, name: 'Town hall' } },
      { type: 'Feature', geometry: { type: 'Point', coordinates: [12.5, 41.9] }, properties: { id: 2, name: 'Old mill' } }
    ]
  })
  await answers(visitor.from('halls').select('place').eq('id', 99).geojson(), { type: 'FeatureCollection', features: [] })
  await refuses(visitor.from('sections').select().geojson(), { status: 400, code: '22023', message: 'geometry column is missing' })
})

await step('geometry is GeoJSON in rows, too', async () => {
  if (!good(await visitor.rpc('has_postgis'))) return
  const { place } = good(await visitor.from('halls').select('place').eq('id', 1).single())
  assert.deepEqual({ type: place.type, coordinates: place.coordinates }, { type: 'Point', coordinates: [24.1, 56.95] })
})

await step('stripNulls leaves empty columns out', async () => {
  await answers(players('id, section_id, rank').order('id').in('id', [1, 6]).stripNulls(),
    [{ id: 1, section_id: 1, rank: 'principal' }, { id: 6 }])
  await answers(players('id, section_id, rank').eq('id', 6).single().stripNulls(), { id: 6 })
  await answers(players('id, sections(name)').eq('id', 6).stripNulls(), [{ id: 6 }])
})

await step('stripNulls and csv exclude each other', () => {
  assert.throws(() => players().csv().stripNulls(), /stripNulls\(\) cannot be used with csv\(\)/)
})

await step('throwOnError throws what is else returned', async () => {
  const thrown = await players().eq('id', 'one').throwOnError().then(() => null, (error) => error)
  assert.ok(thrown instanceof PostgrestError)
  assert.deepEqual(thrown.toJSON(), {
    name: 'PostgrestError', code: '22P02', message: 'invalid input syntax for type integer: "one"', details: null, hint: null
  })
  const { data } = await players('name').eq('id', 1).throwOnError()
  assert.deepEqual(data, [{ name: 'Anna' }])
})

await step('throwOnError with single and maybeSingle', async () => {
  for (const query of [players().single(), players().maybeSingle()]) {
    const thrown = await query.throwOnError().then(() => null, (error) => error)
    assert.deepEqual([thrown instanceof PostgrestError, thrown.code], [true, 'PGRST116'])
  }
})

await step('setHeader reaches the database', () =>
  answers(visitor.rpc('header_of_request', { name: 'x-colour' }).setHeader('X-Colour', 'blue'), 'blue'))

await step('setHeader can ask for a time zone', () =>
  answers(visitor.from('specimens').select('moment').eq('id', 1).setHeader('Prefer', 'timezone=Asia/Tokyo'),
    [{ moment: '2026-02-03T13:05:06.789+09:00' }]))

await step('abortSignal ends a request before it is made, and while it runs', async () => {
  const aborted = { status: 0, code: '', hint: 'Request was aborted (timeout or manual cancellation)' }
  const before = new AbortController()
  before.abort()
  await refuses(players().abortSignal(before.signal), aborted)
  const during = new AbortController()
  const running = visitor.rpc('nap', { seconds: 1 }).abortSignal(during.signal).then((answer) => answer)
  during.abort()
  await refuses(running, aborted)
  await answers(players('name').eq('id', 1).abortSignal(new AbortController().signal), [{ name: 'Anna' }])
})

await step('abortSignal takes a time limit', async () => {
  const { data, error, status } = await visitor.rpc('nap', { seconds: 1 }).abortSignal(AbortSignal.timeout(1))
  assert.deepEqual({ data, status }, { data: null, status: 0 })
  assert.match(error.message, /^TimeoutError: /)
})

await step('returns and overrideTypes change types only', async () => {
  await answers(players('name').eq('id', 1).returns(), [{ name: 'Anna' }])
  await answers(players('name').eq('id', 1).overrideTypes(), [{ name: 'Anna' }])
  await answers(players('name').eq('id', 1).single().returns(), { name: 'Anna' })
  await answers(players('name').eq('id', 1).maybeSingle().overrideTypes(), { name: 'Anna' })
})

await step('an answer that is unavailable is asked for again', () =>
  answers(visitor.rpc('tired', {}, { get: true }), '1'))

await step('retry(false) takes the first answer', () =>
  refuses(visitor.rpc('tired', {}, { get: true }).retry(false),
    { status: 503, code: 'TIRED', message: 'Come again', details: null, hint: null }))
