// from(), schema() and the client's own options; who may see what; and what is refused before any query is made.

import assert from 'node:assert/strict'
import { createClient } from '@supabase/supabase-js'
import { answers, client, good, refuses, service, step } from './report.mjs'

const url = process.env.BASALT_URL
const key = process.env.BASALT_PUBLISHABLE_KEY
const options = { auth: { persistSession: false, autoRefreshToken: false } }
const visitor = client()

await step('from() wants a name', () => {
  for (const name of ['', '  ', undefined]) assert.throws(() => visitor.from(name), /Invalid relation name/)
})

await step('one builder gives several queries', async () => {
  const sections = visitor.from('sections')
  const [strings, brass] = [sections.select('name').eq('id', 1), sections.select('name').eq('id', 3)]
  await answers(strings, [{ name: 'Strings' }])
  await answers(brass, [{ name: 'Brass' }])
})

await step('from() takes a fetch of its own, which carries the keys', async () => {
  const requests = []
  const recording = (input, init) => {
    requests.push({ input: String(input), apikey: new Headers(init.headers).get('apikey') })
    return fetch(input, init)
  }
  await answers(visitor.from('sections', { fetch: recording, retry: false, urlLengthLimit: 100 }).select('name').eq('id', 1),
    [{ name: 'Strings' }])
  assert.deepEqual(requests, [{ input: `${url}/rest/v1/sections?select=name&id=eq.1`, apikey: key }])
})

await step('a client has a fetch, headers, a time limit and no retries when it is told so', async () => {
  const global = { headers: { 'x-colour': 'green' }, fetch: (...args) => fetch(...args) }
  const other = createClient(url, key, { ...options, global, db: { timeout: 20000, retry: false } })
  await answers(other.rpc('header_of_request', { name: 'x-colour' }), 'green')
  await refuses(other.rpc('tired', {}, { get: true }), { status: 503, code: 'TIRED' })
})

await step('every request says which client made it', async () => {
  assert.match(good(await visitor.rpc('header_of_request', { name: 'x-client-info' })), /^supabase-js/)
})

await step('schema() changes the schema of one query', async () => {
  await answers(visitor.schema('archive').from('recordings').select('title').order('id'), [{ title: 'Acetate' }, { title: 'Shellac' }])
  await answers(visitor.schema('public').from('sections').select('name').eq('id', 1), [{ name: 'Strings' }])
  await refuses(visitor.schema('archive').from('sections').select(),
    { status: 404, code: 'PGRST205', message: "Could not find the table 'archive.sections' in the schema cache" })
})

await step('schema() is for writes, too', async () => {
  const recordings = () => visitor.schema('archive').from('recordings')
  await answers(recordings().insert({ id: 3, title: 'Vinyl' }).select(), [{ id: 3, title: 'Vinyl' }], { status: 201 })
  await answers(recordings().delete().eq('id', 3), null, { status: 204 })
  await refuses(recordings().update({ title: 'x' }).eq('id', 1),
    { status: 401, code: '42501', message: 'permission denied for table recordings' })
})

await step('a client may live in another schema', async () => {
  const archivist = createClient(url, key, { ...options, db: { schema: 'archive' } })
  await answers(archivist.from('recordings').select('id', { count: 'exact', head: true }), null, { count: 2 })
  await answers(archivist.schema('public').from('sections').select('name').eq('id', 3), [{ name: 'Brass' }])
})

await step('a schema that is not exposed is refused', async () => {
  const refusal = {
    status: 406,
    code: 'PGRST106',
    message: 'Invalid schema: cellar',
    details: null,
    hint: 'Only the following schemas are exposed: public, archive'
  }
  await refuses(visitor.schema('cellar').from('bottles').select(), refusal)
  await refuses(visitor.schema('cellar').from('bottles').insert({ id: 1 }), refusal)
  await refuses(visitor.schema('cellar').rpc('open'), refusal)
})

await step('a table that is not there, and the nearest that is', async () => {
  await refuses(visitor.from('player').select(), {
    status: 404,
    code: 'PGRST205',
    message: "Could not find the table 'public.player' in the schema cache",
    details: null,
    hint: "Perhaps you meant the table 'public.players'"
  })
  await refuses(visitor.from('zzz').insert({ id: 1 }), { status: 404, code: 'PGRST205', hint: null })
})

await step('a column that is not there', async () => {
  await refuses(visitor.from('players').select('nope'), { status: 400, code: '42703', message: 'column players.nope does not exist' })
  await refuses(visitor.from('players').select('id').eq('nope', 1), { status: 400, code: '42703' })
  await refuses(visitor.from('players').select('id').order('nope'), { status: 400, code: '42703' })
})

await step('values of the wrong type in filters', async () => {
  await refuses(visitor.from('players').select().eq('id', 'one'),
    { status: 400, code: '22P02', message: 'invalid input syntax for type integer: "one"', details: null, hint: null })
  await refuses(visitor.from('players').select().eq('rank', 'choirboy'),
    { status: 400, code: '22P02', message: 'invalid input value for enum rank: "choirboy"' })
  await refuses(visitor.from('specimens').select().eq('day', 'yesteryear'), { status: 400, code: '22007' })
})

await step('operators that do not fit the type', async () => {
  await refuses(visitor.from('players').select().contains('name', ['x']), { status: 404, code: '42883' })
  await refuses(visitor.from('players').select().like('id', '1%'), { status: 404, code: '42883' })
})

await step('filters that cannot be read', () =>
  refuses(visitor.from('players').select().filter('id', 'noop', '0'), {
    status: 400,
    code: 'PGRST100',
    message: '"failed to parse filter (noop.0)" (line 1, column 1)',
    details: 'unexpected "o" expecting "not" or operator (eq, gt, ...)',
    hint: null
  }))

await step('selects that cannot be read', async () => {
  const { error, status } = await visitor.from('players').select('id,sections(name')
  assert.deepEqual({ status, code: error.code, hint: error.hint }, { status: 400, code: 'PGRST100', hint: null })
  assert.match(error.message, /^"failed to parse select parameter \(id,sections\(name\)" \(line 1, column \d+\)$/)
})

await step('a table without privileges is denied, to a visitor with 401', () =>
  refuses(visitor.from('locked').select(), { status: 401, code: '42501', message: 'permission denied for table locked', details: null }))

await step('the service passes', () => answers(service.from('locked').select(), [{ id: 1 }]))

await step('rows of others are not there', async () => {
  await answers(visitor.from('diaries').select(), [])
  await answers(visitor.from('diaries').select('*', { count: 'exact', head: true }), null, { count: 0 })
  await answers(visitor.from('diaries').update({ body: 'changed' }).gt('id', 0).select(), [])
  await answers(visitor.from('diaries').delete().gt('id', 0).select(), [])
  const [row] = good(await service.from('diaries').select('body').eq('owner_id', '00000000-0000-0000-0000-000000000001'))
  assert.deepEqual(row, { body: 'of somebody else' })
})

await step('a visitor writes no rows where policies let none', () =>
  refuses(visitor.from('diaries').insert({ body: 'x', owner_id: '00000000-0000-0000-0000-000000000001' }),
    { status: 401, code: '42501', message: 'new row violates row-level security policy for table "diaries"', details: null, hint: null }))

await step('a user reads and writes their own rows, and is refused others with 403', async () => {
  const user = client()
  const { session } = good(await user.auth.signUp({ email: 'diarist@orchestra.example', password: 'correct horse' }))
  await answers(user.rpc('whoami'), 'authenticated')
  await answers(user.from('diaries').insert({ body: 'mine' }).select('body, owner_id').single(),
    { body: 'mine', owner_id: session.user.id }, { status: 201 })
  await answers(user.from('diaries').select('body'), [{ body: 'mine' }])
  await refuses(user.from('diaries').insert({ body: 'theirs', owner_id: '00000000-0000-0000-0000-000000000001' }),
    { status: 403, code: '42501', message: 'new row violates row-level security policy for table "diaries"' })
  await refuses(user.from('locked').select(), { status: 403, code: '42501', message: 'permission denied for table locked' })
  await answers(visitor.from('diaries').select(), [])
})

await step('getOpenApiSpec describes the schema for the one who asks', async () => {
  const { data, error, status } = await visitor.getOpenApiSpec()
  assert.deepEqual({ error, status, swagger: data?.swagger }, { error: null, status: 200, swagger: '2.0' })
  for (const path of ['/', '/players', '/principals', '/rpc/add_up']) assert.ok(path in data.paths, path)
  assert.equal('/locked' in data.paths, false)
  assert.equal('/recordings' in data.paths, false)
  assert.deepEqual(Object.keys(data.definitions.sections.properties).sort(), ['id', 'name'])
  assert.deepEqual(data.definitions.players.properties.rank.enum, ['tutti', 'soloist', 'principal'])
  assert.ok('/locked' in good(await service.getOpenApiSpec()).paths)
})

await step('getOpenApiSpec of another schema', async () => {
  const { paths } = good(await visitor.schema('archive').getOpenApiSpec())
  assert.deepEqual(Object.keys(paths).sort(), ['/', '/recordings', '/rpc/oldest'])
})
