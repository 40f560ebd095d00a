// rpc(): arguments of every kind, results of every kind, by POST, GET and HEAD, and the builder's methods on what comes back.

import assert from 'node:assert/strict'
import { answers, client, good, refuses, step } from './report.mjs'

const visitor = client()
const BRUNO = { id: 2, name: 'Bruno' }

await step('a routine without arguments', () => answers(visitor.rpc('hello'), 'hello'))

await step('arguments by name, and their defaults', async () => {
  await answers(visitor.rpc('add_up', { a: 1, b: 2 }), 3)
  await answers(visitor.rpc('add_up', { a: 1 }), 11)
  await answers(visitor.rpc('add_up', { b: 2, a: null }), null)
})

await step('an overloaded routine is chosen by its arguments', async () => {
  await answers(visitor.rpc('greet', { name: 'Anna' }), 'Hello Anna')
  await answers(visitor.rpc('greet', { name: 'Anna', word: 'Goodbye' }), 'Goodbye Anna')
})

await step('arrays, variadic arrays, JSON, enums and large numbers', async () => {
  await answers(visitor.rpc('doubled', { numbers: [1, 2, 3] }), [2, 4, 6])
  await answers(visitor.rpc('total', { numbers: [1, 2, 3] }), 6)
  await answers(visitor.rpc('pick', { document: { a: { b: 1 } }, key: 'a' }), '{"b": 1}')
  await answers(visitor.rpc('pick', { document: [{ a: 1 }], key: 'a' }), null)
  await answers(visitor.rpc('rank_above', { low: 'tutti' }), 'soloist')
  await answers(visitor.rpc('big_text', { n: 9223372036854775807n }), '9223372036854775807')
})

await step('one unnamed JSON argument takes the whole body', () =>
  answers(visitor.rpc('mirror', { a: [1, { b: null }] }), { a: [1, { b: null }] }))

await step('nothing and null', async () => {
  await answers(visitor.rpc('nothing'), null, { status: 204 })
  await answers(visitor.rpc('no_text'), null)
})

await step('a composite value is an object', async () => {
  await answers(visitor.rpc('address_of', { player: 2 }), { street: 'Oak 2', city: 'Rome' })
  await answers(visitor.rpc('address_of', { player: 3 }), { street: null, city: null })
  await answers(visitor.rpc('split_name', { full_name: 'Ada Lovelace' }), { first: 'Ada', rest: 'Lovelace' })
  await answers(visitor.rpc('player', { number: 2 }).select('id, name'), BRUNO)
})

await step('a set of values is a list, and a table a list of objects', async () => {
  await answers(visitor.rpc('countdown', { start: 3 }), [3, 2, 1])
  await answers(visitor.rpc('countdown', { start: 0 }), [])
  await answers(visitor.rpc('labelled'), [{ label: 'one', n: 1 }, { label: 'two', n: 2 }, { label: null, n: 3 }])
})

await step('rows of a table are selected, filtered, ordered and paged', async () => {
  const strings = () => visitor.rpc('players_of', { section: 1 })
  await answers(strings().select('id, name').eq('name', 'Bruno'), [BRUNO])
  await answers(strings().select('id').order('name', { ascending: false }), [{ id: 2 }, { id: 1 }])
  await answers(strings().select('id').order('id').limit(1), [{ id: 1 }])
  await answers(strings().select('id').order('id').range(1, 1), [{ id: 2 }])
  await answers(strings().select('number:id::text, details->>city').in('id', [1]), [{ number: '1', city: 'Riga' }])
  await answers(strings().select('id').or('name.eq.Anna,fee.lt.100').not('rank', 'eq', 'tutti'), [{ id: 1 }])
  await answers(visitor.rpc('labelled').gt('n', 1).is('label', null).select('n'), [{ n: 3 }])
})

await step('rows of a table are embedded with what they relate to', async () => {
  await answers(visitor.rpc('players_of', { section: 2 }).select('name, sections(name), contracts(salary)').order('id'), [
    { name: 'Chloe', sections: { name: 'Woodwinds' }, contracts: { salary: 4200 } },
    { name: 'Dora', sections: { name: 'Woodwinds' }, contracts: null }
  ])
  await answers(visitor.rpc('players_of', { section: 1 }).select('name, concerts!inner(title)').eq('concerts.id', 2),
    [{ name: 'Anna', concerts: [{ title: 'Summer Night' }] }])
  await answers(visitor.rpc('player', { number: 5 }).select('name, teacher:teacher_id(name), mentor(name), initial'),
    { name: 'Emil', teacher: { name: 'Anna' }, mentor: { name: 'Anna' }, initial: 'E' })
})

await step('single and maybeSingle on a set', async () => {
  await answers(visitor.rpc('players_of', { section: 3 }).select('name').single(), { name: 'Emil' })
  await answers(visitor.rpc('players_of', { section: 4 }).select('name').maybeSingle(), null)
  await refuses(visitor.rpc('players_of', { section: 1 }).single(),
    { status: 406, code: 'PGRST116', details: 'The result contains 2 rows' })
})

await step('csv and stripNulls of a set', async () => {
  await answers(visitor.rpc('labelled').csv(), 'label,n\none,1\ntwo,2\n,3')
  await answers(visitor.rpc('labelled').eq('n', 3).stripNulls(), [{ n: 3 }])
})

await step('get calls by GET, with every argument in the address', async () => {
  await answers(visitor.rpc('hello', {}, { get: true }), 'hello')
  await answers(visitor.rpc('hello', undefined, { get: true }), 'hello')
  await answers(visitor.rpc('add_up', { a: 1, b: 2 }, { get: true }), 3)
  await answers(visitor.rpc('add_up', { a: 5, b: undefined }, { get: true }), 15)
  await answers(visitor.rpc('doubled', { numbers: [1, 2] }, { get: true }), [2, 4])
  await answers(visitor.rpc('greet', { name: 'A & B = "C"' }, { get: true }), 'Hello A & B = "C"')
  await answers(visitor.rpc('nothing', {}, { get: true }), null, { status: 204 })
})

await step('get with filters on the rows', async () => {
  await answers(visitor.rpc('players_of', { section: 1 }, { get: true }).select('id, name').eq('name', 'Bruno'), [BRUNO])
  await answers(visitor.rpc('players_of', { section: 2 }, { get: true }).select('id, sections(name)').order('id').limit(1),
    [{ id: 3, sections: { name: 'Woodwinds' } }])
})

await step('get never writes', async () => {
  await refuses(visitor.rpc('rename_ticket', { old_seat: 'A1', new_note: 'x' }, { get: true }),
    { status: 405, code: '25006', message: 'cannot execute UPDATE in a read-only transaction' })
})

await step('head leaves the result out', async () => {
  await answers(visitor.rpc('hello', {}, { head: true }), null)
  await answers(visitor.rpc('players_of', { section: 1 }, { head: true }), null)
})

await step('counts, by POST, GET and HEAD', async () => {
  const call = (options) => visitor.rpc('countdown', { start: 3 }, options)
  await answers(call({ count: 'exact' }), [3, 2, 1], { count: 3 })
  await answers(call({ get: true, count: 'exact' }), [3, 2, 1], { count: 3 })
  await answers(call({ head: true, count: 'exact' }), null, { count: 3 })
  await answers(call({ count: 'estimated' }), [3, 2, 1], { count: 3 })
  await answers(visitor.rpc('hello', {}, { count: 'exact' }), 'hello', { count: 1 })
})

await step('a count is of the rows that the filters leave', () =>
  answers(visitor.rpc('players_of', { section: 1 }, { count: 'exact' }).select('id').gt('id', 0).order('id').limit(1), [{ id: 1 }],
    { status: 206, count: 2 }))

await step('head with an object goes by POST', () =>
  answers(visitor.rpc('pick', { document: { a: 'b' }, key: 'a' }, { head: true, count: 'exact' }), 'b', { count: 1 }))

await step('a routine that writes', async () => {
  good(await visitor.from('tickets').insert([{ seat: 'rpc-1' }, { seat: 'rpc-2' }]))
  await answers(visitor.rpc('rename_ticket', { old_seat: 'rpc-1', new_note: 'by rpc' }), 'by rpc')
  await answers(visitor.rpc('rename_ticket', { old_seat: 'rpc-2', new_note: 'undone' }).rollback(), 'undone')
  await answers(visitor.from('tickets').select('note').like('seat', 'rpc-%').order('seat'), [{ note: 'by rpc' }, { note: null }])
})

await step('maxAffected bounds the rows that a routine returns', async () => {
  good(await visitor.from('tickets').insert([{ seat: 'tear-1' }, { seat: 'tear-2' }]))
  await refuses(visitor.rpc('tear_tickets', { prefix: 'tear-' }).select('seat').maxAffected(1),
    { status: 400, code: 'PGRST124', details: 'The query affects 2 rows' })
  await answers(visitor.rpc('tear_tickets', { prefix: 'tear-' }).select('seat').order('seat').maxAffected(2),
    [{ seat: 'tear-1' }, { seat: 'tear-2' }])
  await refuses(visitor.rpc('nothing').maxAffected(1), {
    status: 400,
    code: 'PGRST128',
    message: 'Function must return SETOF or TABLE when max-affected preference is used with handling=strict',
    details: null,
    hint: null
  })
})

await step('the role of the caller', async () => {
  await answers(visitor.rpc('whoami'), 'anon')
})

await step('a routine that is not there, and the nearest that is', async () => {
  await refuses(visitor.rpc('helo'), {
    status: 404,
    code: 'PGRST202',
    message: 'Could not find the function public.helo without parameters in the schema cache',
    details: 'Searched for the function public.helo without parameters or with a single unnamed json/jsonb parameter, ' +
      'but no matches were found in the schema cache.',
    hint: 'Perhaps you meant to call the function public.hello'
  })
  await refuses(visitor.rpc('helo', {}, { get: true }), {
    status: 404,
    code: 'PGRST202',
    details: 'Searched for the function public.helo without parameters, but no matches were found in the schema cache.'
  })
})

await step('arguments that nobody takes', async () => {
  await refuses(visitor.rpc('add_up', { a: 1, c: 2 }), {
    status: 404,
    code: 'PGRST202',
    message: 'Could not find the function public.add_up(a, c) in the schema cache',
    details: 'Searched for the function public.add_up with parameters a, c or with a single unnamed json/jsonb parameter, ' +
      'but no matches were found in the schema cache.',
    hint: 'Perhaps you meant to call the function public.add_up(a, b)'
  })
  await refuses(visitor.rpc('add_up', { c: 2 }, { get: true }), {
    status: 404,
    code: 'PGRST202',
    message: 'Could not find the function public.add_up(c) in the schema cache',
    details: 'Searched for the function public.add_up with parameter c, but no matches were found in the schema cache.'
  })
  assert.equal((await visitor.rpc('add_up', {})).error.code, 'PGRST202')
})

await step('routines that differ in types only', async () => {
  const { error, status } = await visitor.rpc('twins', { x: 1 })
  assert.deepEqual({ status, code: error.code, details: error.details, hint: error.hint }, {
    status: 300,
    code: 'PGRST203',
    details: null,
    hint: 'Try renaming the parameters or the function itself in the database so function overloading can be resolved'
  })
  assert.deepEqual(error.message.split(': ')[1].split(', ').sort(), ['public.twins(x => integer)', 'public.twins(x => text)'])
  assert.match(error.message, /^Could not choose the best candidate function between: /)
})

await step('arguments of the wrong type', () =>
  refuses(visitor.rpc('add_up', { a: 'one' }), { status: 400, code: '22P02', message: 'invalid input syntax for type integer: "one"' }))

await step('errors that a routine raises', async () => {
  await refuses(visitor.rpc('refuse'),
    { status: 400, code: 'P0001', message: 'Not today', details: 'The hall is closed', hint: 'Come tomorrow' })
  await refuses(visitor.rpc('pay_first'),
    { status: 402, code: 'PT402', message: 'Payment is due', details: 'Nothing was paid', hint: 'Buy a ticket' })
})

await step('a routine of another schema', async () => {
  await answers(visitor.schema('archive').rpc('oldest'), 'Acetate')
  await answers(visitor.schema('archive').rpc('oldest', {}, { get: true }), 'Acetate')
  await refuses(visitor.rpc('oldest'), { status: 404, code: 'PGRST202' })
})
