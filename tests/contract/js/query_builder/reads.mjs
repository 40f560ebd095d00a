// select(): columns, aliases, casts, JSON paths, computed columns, types, views, counts and heads.

import assert from 'node:assert/strict'
import { answers, client, good, step } from './report.mjs'

const visitor = client()
const SECTIONS = [
  { id: 1, name: 'Strings' }, { id: 2, name: 'Woodwinds' }, { id: 3, name: 'Brass' }, { id: 4, name: 'Percussion' }
]
const anna = (columns) => visitor.from('players').select(columns).eq('id', 1)

await step('select() without columns reads them all', () =>
  answers(visitor.from('sections').select().order('id'), SECTIONS))

await step('select("*") reads them all', () =>
  answers(visitor.from('sections').select('*').order('id'), SECTIONS))

await step('the columns that are named are read, whatever space stands between them', () =>
  answers(anna(`
    id,
    name
  `), [{ id: 1, name: 'Anna' }]))

await step('a column has another name when it is asked for', () =>
  answers(anna('player:name, number:id'), [{ player: 'Anna', number: 1 }]))

await step('one column can be read twice', () =>
  answers(anna('name, again:name'), [{ name: 'Anna', again: 'Anna' }]))

await step('a column is cast', () =>
  answers(anna('fee::text, number:id::text, rank::text'), [{ fee: '120.50', number: '1', rank: 'principal' }]))

await step('all columns and one more', () =>
  answers(visitor.from('sections').select('*, title:name').eq('id', 3), [{ id: 3, name: 'Brass', title: 'Brass' }]))

await step('names with spaces are quoted', async () => {
  await answers(visitor.from('press cuttings').select('"Head Line"').order('id'),
    [{ 'Head Line': 'A night to remember' }, { 'Head Line': 'Spring is here' }])
  await answers(visitor.from('press cuttings').select('text:"Head Line"').eq('Head Line', 'Spring is here'),
    [{ text: 'Spring is here' }])
})

await step('a JSON path gives JSON, and text with the double arrow', () =>
  answers(anna('details->city, details->born, year:details->>born'), [{ city: 'Riga', born: 1960, year: '1960' }]))

await step('a JSON path goes through objects and lists', () =>
  answers(anna('details->languages->>first, last:details->tags->>-1, tag:details->tags->0'),
    [{ first: 'lv', last: 'solo', tag: 'bow' }]))

await step('a path to an item of a list has the name of the list', () =>
  answers(anna('details->tags->1'), [{ tags: 'solo' }]))

await step('a path that leads nowhere gives null', () =>
  answers(anna('details->nowhere->>further'), [{ further: null }]))

await step('a JSON path is cast', () =>
  answers(anna('details->>born::int, decade:details->born::text'), [{ born: 1960, decade: '1960' }]))

await step('arrows read items of arrays and fields of composite types', () =>
  answers(anna('first:instruments->0, second:instruments->>1, home->>street, home->city'),
    [{ first: 'violin', second: 'viola', street: 'Elm 1', city: 'Riga' }]))

await step('a computed column is read by its name, and is none of "*"', async () => {
  await answers(anna('name, initial'), [{ name: 'Anna', initial: 'A' }])
  assert.equal('initial' in good(await anna('*'))[0], false)
})

await step('arrays, JSON, composite types, ranges, numbers and truth are what JSON has for them', () =>
  answers(anna('*'), [{
    id: 1,
    name: 'Anna',
    section_id: 1,
    teacher_id: null,
    rank: 'principal',
    instruments: ['violin', 'viola'],
    details: { city: 'Riga', born: 1960, tags: ['bow', 'solo'], languages: { first: 'lv' } },
    home: { street: 'Elm 1', city: 'Riga' },
    tenure: '[1990-01-01,2020-01-01)',
    fee: 120.5,
    active: true
  }]))

await step('dates, times, bytes and identifiers are text, large and exact numbers are numbers', () =>
  answers(visitor.from('specimens').select().eq('id', 1), [{
    id: 1,
    big: 9007199254740992,
    exact: 1234.5,
    approximate: 0.1,
    moment: '2026-02-03T04:05:06.789+00:00',
    day: '2026-02-03',
    clock: '04:05:06',
    span: '1 day 02:00:00',
    bytes: '\\x00ff41',
    identifier: '6f2c1a9e-0b9d-4a52-9a0e-2f3d6a1b7c55',
    document: { b: 1, a: [true, null] },
    numbers: [1, 2, null],
    letter: 'ab '
  }]))

await step('what JavaScript cannot count is read as text', () =>
  answers(visitor.from('specimens').select('big::text, exact::text, document::text').eq('id', 1),
    [{ big: '9007199254740993', exact: '1234.50000000', document: '{"b": 1,  "a": [true, null]}' }]))

await step('null is null in every type', async () => {
  const [row] = good(await visitor.from('specimens').select().eq('id', 2))
  const { id, ...rest } = row
  assert.equal(id, 2)
  assert.deepEqual(new Set(Object.values(rest)), new Set([null]))
  assert.equal(Object.keys(rest).length, 12)
})

await step('a view is read as a table is', () =>
  answers(visitor.from('principals').select(), [{ id: 1, name: 'Anna', section_id: 1 }]))

await step('a materialised view is read as a table is', () =>
  answers(visitor.from('section_sizes').select().order('section_id'),
    [{ section_id: 1, size: 2 }, { section_id: 2, size: 2 }, { section_id: 3, size: 1 }, { section_id: 4, size: 0 }]))

await step('head leaves the rows out', () =>
  answers(visitor.from('sections').select('*', { head: true }), null))

await step('an exact count comes with the rows', () =>
  answers(visitor.from('sections').select('id', { count: 'exact' }).order('id'), [{ id: 1 }, { id: 2 }, { id: 3 }, { id: 4 }],
    { count: 4 }))

await step('an exact count comes with head, without rows', () =>
  answers(visitor.from('sections').select('*', { count: 'exact', head: true }), null, { count: 4 }))

await step('a count is of what the filters leave, not of the page', () =>
  answers(visitor.from('seats').select('id', { count: 'exact' }).eq('row_number', 2).order('id').range(5, 6),
    [{ id: 21 }, { id: 22 }], { status: 206, count: 15 }))

await step('a count of nothing is zero', () =>
  answers(visitor.from('sections').select('*', { count: 'exact' }).eq('id', 99), [], { count: 0 }))

await step('no more than max_rows rows come, and the count tells of the others', async () => {
  const { data, count, status } = await visitor.from('seats').select('id', { count: 'exact' }).order('id')
  assert.deepEqual({ rows: data.length, last: data.at(-1).id, count, status }, { rows: 100, last: 100, count: 150, status: 206 })
  assert.equal(good(await visitor.from('seats').select('id')).length, 100)
})

await step('no more than max_rows rows are embedded, too', async () => {
  const house = good(await visitor.from('houses').select('name, seats(id)').single())
  assert.deepEqual({ name: house.name, seats: house.seats.length }, { name: 'Opera', seats: 100 })
})

await step('a planned count is the figure of the planner', async () => {
  await answers(visitor.from('seats').select('*', { count: 'planned', head: true }), null, { status: 206, count: 150 })
  await answers(visitor.from('seats').select('id', { count: 'planned' }).limit(1).order('id'), [{ id: 1 }],
    { status: 206, count: 150 })
  await answers(visitor.from('crowd').select('n', { count: 'planned' }).limit(2), [{ n: 1 }, { n: 2 }],
    { status: 206, count: 500 })
})

await step('a planned count heeds the filters', () =>
  answers(visitor.from('seats').select('*', { count: 'planned', head: true }).eq('row_number', 3), null, { count: 15 }))

await step('an estimated count is exact up to max_rows', async () => {
  await answers(visitor.from('sections').select('*', { count: 'estimated', head: true }), null, { count: 4 })
  await answers(visitor.from('seats').select('id', { count: 'estimated' }).eq('row_number', 1).limit(1), [{ id: 1 }],
    { status: 206, count: 15 })
})

await step('an estimated count is the figure of the planner above max_rows', async () => {
  await answers(visitor.from('crowd').select('*', { count: 'estimated', head: true }), null, { status: 206, count: 500 })
  await answers(visitor.from('crowd').select('*', { count: 'exact', head: true }), null, { status: 206, count: 120 })
})

await step('a count is of parents where the embedded rows decide', async () => {
  await answers(visitor.from('sections').select('id, players!inner()', { count: 'exact', head: true }), null, { count: 3 })
  await answers(visitor.from('sections').select('id, players()', { count: 'exact', head: true }).is('players', null), null,
    { count: 1 })
})
