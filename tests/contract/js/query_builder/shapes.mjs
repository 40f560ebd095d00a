// select() that changes the shape of rows: spread embeds, to one and to many, and aggregates with their grouping.

import assert from 'node:assert/strict'
import { answers, client, good, refuses, step } from './report.mjs'

const visitor = client()
const sections = (columns) => visitor.from('sections').select(columns).order('id')
const players = (columns) => visitor.from('players').select(columns).order('id')
const concerts = (columns) => visitor.from('concerts').select(columns).order('id')

await step('a spread lifts the columns of the one', () =>
  answers(players('name, ...sections(section:name)').in('id', [1, 6]),
    [{ name: 'Anna', section: 'Strings' }, { name: 'Fay (Jr), Lee', section: null }]))

await step('a spread of one to one', () =>
  answers(players('name, ...contracts(salary)').in('id', [2, 3]),
    [{ name: 'Bruno', salary: null }, { name: 'Chloe', salary: 4200 }]))

await step('a spread of all columns', () =>
  answers(visitor.from('contracts').select('player_id, ...players(*)').eq('player_id', 3),
    [{
      player_id: 3,
      id: 3,
      name: 'Chloe',
      section_id: 2,
      teacher_id: null,
      rank: 'soloist',
      instruments: ['flute', 'piccolo'],
      details: { city: 'Lyon', born: 1990, tags: ['air'] },
      home: null,
      tenure: '[2015-01-01,)',
      fee: 95.25,
      active: false
    }]))

await step('a spread with a hint, a JSON path and a cast', () =>
  answers(visitor.from('rehearsals').select('room, ...players!leader_id(leader:name, details->>city, fee::text)').eq('id', 1),
    [{ room: 'Hall A', leader: 'Anna', city: 'Riga', fee: '120.50' }]))

await step('!inner on a spread leaves parents out', () =>
  answers(players('name, ...sections!inner(section:name)').eq('sections.name', 'Brass'), [{ name: 'Emil', section: 'Brass' }]))

await step('a spread within an embed, and an embed within a spread', async () => {
  await answers(concerts('title, performances(part, ...players(name))').eq('id', 2).order('part', { referencedTable: 'performances' }),
    [{ title: 'Summer Night', performances: [{ part: 'flute', name: 'Chloe' }, { part: 'solo', name: 'Anna' }] }])
  await answers(visitor.from('contracts').select('salary, ...players(name, sections(name))').eq('player_id', 1),
    [{ salary: 5000, name: 'Anna', sections: { name: 'Strings' } }])
})

await step('a spread within a spread', () =>
  answers(visitor.from('contracts').select('salary, ...players(name, ...sections(section:name))').order('salary'),
    [{ salary: 4200, name: 'Chloe', section: 'Woodwinds' }, { salary: 5000, name: 'Anna', section: 'Strings' }]))

await step('a spread of a computed relationship', () =>
  answers(players('name, ...mentor(by:name)').in('id', [1, 2]), [{ name: 'Anna', by: null }, { name: 'Bruno', by: 'Anna' }]))

await step('columns of a junction stand beside those of the other side', () =>
  answers(players('name, concerts:performances(part, ...concerts(title))').eq('id', 1).order('part', { referencedTable: 'concerts' }),
    [{ name: 'Anna', concerts: [{ part: 'leader', title: 'Spring Gala' }, { part: 'solo', title: 'Summer Night' }] }]))

await step('a spread of the many gives lists', () =>
  answers(sections('name, ...players(players:name, ids:id)').order('id', { referencedTable: 'players' }), [
    { name: 'Strings', players: ['Anna', 'Bruno'], ids: [1, 2] },
    { name: 'Woodwinds', players: ['Chloe', 'Dora'], ids: [3, 4] },
    { name: 'Brass', players: ['Emil'], ids: [5] },
    { name: 'Percussion', players: [], ids: [] }
  ]))

await step('the lists keep nulls, so that they stay beside each other', () =>
  answers(sections('...players(fees:fee, ranks:rank)').eq('id', 2).order('id', { referencedTable: 'players', ascending: false }),
    [{ fees: [null, 95.25], ranks: [null, 'soloist'] }]))

await step('a spread of many to many', () =>
  answers(concerts('title, ...players(players:name)').order('name', { referencedTable: 'players', ascending: false }), [
    { title: 'Spring Gala', players: ['Chloe', 'Bruno', 'Anna'] },
    { title: 'Summer Night', players: ['Chloe', 'Anna'] },
    { title: 'Winter Matinee', players: [] }
  ]))

await step('filters and !inner on a spread of the many', () =>
  answers(sections('name, ...players!inner(players:name)').eq('players.rank', 'tutti'),
    [{ name: 'Strings', players: ['Bruno'] }, { name: 'Brass', players: ['Emil'] }]))

// Which of them it is, is PostgREST's to choose: there the order is that of the list, and not of the rows that are limited.
await step('limits on a spread of the many', async () => {
  const { players: names } = good(await sections('...players(players:name)').eq('id', 1).limit(1, { referencedTable: 'players' }).single())
  assert.ok(names.length === 1 && ['Anna', 'Bruno'].includes(names[0]), names)
})

await step('spreads and embeds within a spread of the many', () =>
  answers(sections('name, ...players(players:name, ...contracts(salaries:salary), pupils(name))').eq('id', 1)
    .order('id', { referencedTable: 'players' }).order('name', { referencedTable: 'players.pupils' }),
  [{ name: 'Strings', players: ['Anna', 'Bruno'], salaries: [5000, null], pupils: [[{ name: 'Bruno' }, { name: 'Emil' }], []] }]))

await step('a spread of the many within a spread of the many gives lists of lists', () =>
  answers(sections('...players(players:name, ...performances(parts:part))').eq('id', 1)
    .order('id', { referencedTable: 'players' }).order('part', { referencedTable: 'players.performances' }),
  [{ players: ['Anna', 'Bruno'], parts: [['leader', 'solo'], ['second']] }]))

await step('sum, avg, min, max and count of a table', () =>
  answers(visitor.from('players').select('fee.sum(), fee.avg(), fee.min(), fee.max(), fee.count()'),
    [{ sum: 375.75, avg: 75.15, min: 0, max: 120.5, count: 5 }]))

await step('count() counts rows, count() of a column its values', () =>
  answers(visitor.from('players').select('count(), fees:fee.count(), ranks:rank.count()'), [{ count: 6, fees: 5, ranks: 4 }]))

await step('count without brackets counts rows, too', () => answers(visitor.from('players').select('count'), [{ count: 6 }]))

await step('the other columns are what the aggregates are grouped by', () =>
  answers(visitor.from('players').select('section_id, count(), total:fee.sum()').order('section_id'), [
    { section_id: 1, count: 2, total: 200.5 },
    { section_id: 2, count: 2, total: 95.25 },
    { section_id: 3, count: 1, total: 80 },
    { section_id: null, count: 1, total: 0 }
  ]))

await step('aggregates heed the filters', () =>
  answers(visitor.from('players').select('fee.sum(), count()').eq('rank', 'tutti'), [{ sum: 160, count: 2 }]))

await step('what is aggregated is cast, and so is the aggregate', () =>
  answers(visitor.from('players').select('fee.avg()::int, text:fee.sum()::text, year:details->>born::int.min()'),
    [{ avg: 75, text: '375.75', year: 1960 }]))

await step('grouping by an alias, a cast and a JSON path', async () => {
  await answers(visitor.from('players').select('busy:active, count()').order('active'),
    [{ busy: false, count: 2 }, { busy: true, count: 3 }, { busy: null, count: 1 }])
  const byCity = good(await visitor.from('players').select('details->>city, count()'))
  assert.deepEqual(new Map(byCity.map((row) => [row.city, row.count])), new Map([['Riga', 1], ['Rome', 1], ['Lyon', 1], [null, 3]]))
})

await step('aggregates within an embed', () =>
  answers(sections('name, players(fee.sum(), count())').in('id', [1, 4]),
    [{ name: 'Strings', players: [{ sum: 200.5, count: 2 }] }, { name: 'Percussion', players: [{ sum: null, count: 0 }] }]))

await step('grouped aggregates within an embed', () =>
  answers(concerts('title, performances(part, fee.max())').eq('id', 1).order('part', { referencedTable: 'performances' }),
    [{
      title: 'Spring Gala',
      performances: [{ part: 'flute', max: 30 }, { part: 'leader', max: 50 }, { part: 'second', max: 20 }]
    }]))

await step('grouping by an embed', async () => {
  const totals = good(await visitor.from('performances').select('total:fee.sum(), concerts(title)'))
  assert.deepEqual(new Map(totals.map((row) => [row.concerts.title, row.total])), new Map([['Spring Gala', 100], ['Summer Night', 70]]))
})

await step('grouping by a spread', () =>
  answers(visitor.from('performances').select('total:fee.sum(), ...concerts(title)').order('concerts(title)'),
    [{ total: 100, title: 'Spring Gala' }, { total: 70, title: 'Summer Night' }]))

await step('aggregates within a spread of the one are those of the parents', () =>
  answers(visitor.from('performances').select('part, ...players(fee.max(), ...sections(names:name.count()))').order('part'), [
    { part: 'flute', max: 95.25, names: 2 },
    { part: 'leader', max: 120.5, names: 1 },
    { part: 'second', max: 80, names: 1 },
    { part: 'solo', max: 120.5, names: 1 }
  ]))

await step('aggregates within a spread of the many are refused', () =>
  refuses(sections('name, ...players(fee.sum())'), {
    status: 400,
    code: 'PGRST127',
    message: 'Feature not implemented',
    details: 'Aggregates are not implemented for one-to-many or many-to-many spreads.',
    hint: null
  }))

await step('aggregates of the rows of a routine', () =>
  answers(visitor.rpc('players_of', { section: 1 }).select('fee.sum(), count()'), [{ sum: 200.5, count: 2 }]))

await step('grouping by an enum follows its order', () =>
  answers(visitor.from('players').select('rank, count()').not('rank', 'is', null).order('rank'),
    [{ rank: 'tutti', count: 2 }, { rank: 'soloist', count: 1 }, { rank: 'principal', count: 1 }]))
