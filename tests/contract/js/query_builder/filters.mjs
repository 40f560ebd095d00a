// Every filter of the builder, on every kind of column that it is meant for. Most steps name the ids of the players they find.

import { answers, client, step } from './report.mjs'

const visitor = client()

const finds = (narrow, ...ids) =>
  answers(narrow(visitor.from('players').select('id').order('id')), ids.map((id) => ({ id })))

const findsPieces = (narrow, ...ids) =>
  answers(narrow(visitor.from('pieces').select('id').order('id')), ids.map((id) => ({ id })))

await step('eq', async () => {
  await finds((players) => players.eq('name', 'Anna'), 1)
  await finds((players) => players.eq('fee', 80), 2, 5)
  await finds((players) => players.eq('active', false), 3, 6)
  await finds((players) => players.eq('rank', 'tutti'), 2, 5)
  await finds((players) => players.eq('name', 'Fay (Jr), Lee'), 6)
  await finds((players) => players.eq('tenure', '[2010-01-01,2015-01-01)'), 2)
})

await step('neq', () => finds((players) => players.neq('rank', 'tutti'), 1, 3))

await step('gt, gte, lt and lte on numbers', async () => {
  await finds((players) => players.gt('fee', 80), 1, 3)
  await finds((players) => players.gte('fee', 80), 1, 2, 3, 5)
  await finds((players) => players.lt('fee', 80), 6)
  await finds((players) => players.lte('fee', 80), 2, 5, 6)
})

await step('comparisons follow the order of text and of enums', async () => {
  await finds((players) => players.lt('name', 'Chloe'), 1, 2)
  await finds((players) => players.gte('rank', 'soloist'), 1, 3)
})

await step('comparisons on dates and times', async () => {
  const days = (narrow, ids) => answers(narrow(visitor.from('specimens').select('id')), ids.map((id) => ({ id })))
  await days((specimens) => specimens.gte('day', '2026-02-03'), [1])
  await days((specimens) => specimens.lt('moment', new Date('2026-02-03T04:05:06.788Z').toISOString()), [])
  await days((specimens) => specimens.eq('moment', '2026-02-03T06:05:06.789+02:00'), [1])
  await days((specimens) => specimens.gt('clock', '04:00'), [1])
})

await step('two filters on one column make a range', () => finds((players) => players.gt('id', 2).lt('id', 5), 3, 4))

await step('like and ilike', async () => {
  await finds((players) => players.like('name', '%o%'), 2, 3, 4)
  await finds((players) => players.like('name', 'b%'))
  await finds((players) => players.like('name', '_nna'), 1)
  await finds((players) => players.like('name', 'Fay (%'), 6)
  await finds((players) => players.ilike('name', 'b%'), 2)
})

await step('a star stands for the percent sign', () => finds((players) => players.like('name', '*o*'), 2, 3, 4))

await step('likeAllOf and likeAnyOf', async () => {
  await finds((players) => players.likeAllOf('name', ['%a', 'A%']), 1)
  await finds((players) => players.likeAnyOf('name', ['%a', 'E%']), 1, 4, 5)
})

await step('ilikeAllOf and ilikeAnyOf', async () => {
  await finds((players) => players.ilikeAllOf('name', ['%A', 'a%']), 1)
  await finds((players) => players.ilikeAnyOf('name', ['%A', 'e%']), 1, 4, 5)
})

await step('regexMatch and regexIMatch', async () => {
  await finds((players) => players.regexMatch('name', '^[AB]'), 1, 2)
  await finds((players) => players.regexMatch('name', '^a'))
  await finds((players) => players.regexIMatch('name', '^a.+a$'), 1)
})

await step('is', async () => {
  await finds((players) => players.is('active', null), 4)
  await finds((players) => players.is('active', true), 1, 2, 5)
  await finds((players) => players.is('active', false), 3, 6)
  await finds((players) => players.is('section_id', null), 6)
})

await step('isDistinct compares with null, too', async () => {
  await finds((players) => players.isDistinct('rank', 'tutti'), 1, 3, 4, 6)
  await finds((players) => players.isDistinct('fee', 80), 1, 3, 4, 6)
})

await step('in', async () => {
  await finds((players) => players.in('id', [1, 3, 3, 99]), 1, 3)
  await finds((players) => players.in('rank', ['principal', 'soloist']), 1, 3)
  await finds((players) => players.in('name', ['Fay (Jr), Lee', 'Anna']), 1, 6)
})

await step('in an empty list is nothing', () => finds((players) => players.in('id', [])))

await step('notIn', async () => {
  await finds((players) => players.notIn('id', [1, 2, 3]), 4, 5, 6)
  await finds((players) => players.notIn('rank', ['tutti']), 1, 3)
  await finds((players) => players.notIn('name', ['Fay (Jr), Lee', 'Anna']), 2, 3, 4, 5)
})

await step('contains on arrays', async () => {
  await finds((players) => players.contains('instruments', ['violin']), 1, 2)
  await finds((players) => players.contains('instruments', ['viola', 'violin']), 1)
  await finds((players) => players.contains('instruments', '{horn}'), 5)
})

await step('contains on JSON', async () => {
  await finds((players) => players.contains('details', { city: 'Rome' }), 2)
  await finds((players) => players.contains('details', { tags: ['bow'] }), 1, 2)
  await finds((players) => players.contains('details', '{"languages": {"first": "lv"}}'), 1)
  await finds((players) => players.contains('details->tags', '["air"]'), 3)
})

await step('contains on ranges', () => finds((players) => players.contains('tenure', '[2011-01-01,2012-01-01)'), 1, 2))

await step('containedBy on arrays, JSON and ranges', async () => {
  await finds((players) => players.containedBy('instruments', ['violin', 'horn']), 2, 5, 6)
  await finds((players) => players.containedBy('details', { city: 'Rome', born: 1985, tags: ['bow', 'oil'] }), 2, 5, 6)
  await finds((players) => players.containedBy('tenure', '[2009-01-01,2016-01-01)'), 2)
})

await step('overlaps on arrays and ranges', async () => {
  await finds((players) => players.overlaps('instruments', ['viola', 'horn']), 1, 5)
  await finds((players) => players.overlaps('instruments', '{piccolo}'), 3)
  await finds((players) => players.overlaps('tenure', '[2014-01-01,2014-06-01)'), 1, 2)
})

await step('rangeGt and rangeGte', async () => {
  await finds((players) => players.rangeGt('tenure', '[1990-01-01,2015-01-01)'), 3, 4)
  await finds((players) => players.rangeGte('tenure', '[2010-01-01,2011-01-01)'), 2, 3, 4)
})

await step('rangeLt and rangeLte', async () => {
  await finds((players) => players.rangeLt('tenure', '[2015-01-01,2016-01-01)'), 2)
  await finds((players) => players.rangeLte('tenure', '[2000-01-01,2020-01-01)'), 1, 2)
})

await step('rangeAdjacent', () => finds((players) => players.rangeAdjacent('tenure', '[2020-01-01,2020-06-01)'), 1, 4))

await step('filters of ranges on ranges of numbers', async () => {
  const concerts = (narrow, ...ids) =>
    answers(narrow(visitor.from('concerts').select('id').order('id')), ids.map((id) => ({ id })))
  await concerts((all) => all.contains('seats', '[150,160)'), 1)
  await concerts((all) => all.rangeGt('seats', '[50,100)'), 1, 2)
  await concerts((all) => all.rangeLt('seats', '[200,300)'), 1, 3)
  await concerts((all) => all.rangeAdjacent('seats', '[500,600)'), 2)
  await concerts((all) => all.overlaps('seats', '(99,200]'), 1, 2)
})

await step('textSearch takes the language of to_tsquery', async () => {
  await findsPieces((pieces) => pieces.textSearch('search', 'movement & orchestra', { config: 'english' }), 1)
  await findsPieces((pieces) => pieces.textSearch('search', 'sea | theme', { config: 'english' }), 2, 3)
  await findsPieces((pieces) => pieces.textSearch('search', "'orchestra' & !'planets'", { config: 'english' }), 2)
  await findsPieces((pieces) => pieces.textSearch('search', 'orchestra'), 1, 2)
})

await step('textSearch, plain: all of the words', async () => {
  await findsPieces((pieces) => pieces.textSearch('search', 'orchestras large', { type: 'plain', config: 'english' }), 1)
  await findsPieces((pieces) => pieces.textSearch('search', 'orchestra', { type: 'plain' }), 1, 2)
})

await step('textSearch, phrase: the words in a row', async () => {
  await findsPieces((pieces) => pieces.textSearch('search', 'whole orchestra', { type: 'phrase', config: 'english' }), 2)
  await findsPieces((pieces) => pieces.textSearch('search', 'orchestra whole', { type: 'phrase', config: 'english' }))
})

await step('textSearch, websearch: as on the web', async () => {
  const web = (query, ...ids) =>
    findsPieces((pieces) => pieces.textSearch('search', query, { type: 'websearch', config: 'english' }), ...ids)
  await web('"large orchestra" or sea', 1, 3)
  await web('orchestra -theme', 1)
})

await step('textSearch on text and JSON makes the vector itself', async () => {
  await findsPieces((pieces) => pieces.textSearch('notes', 'sketch', { type: 'plain', config: 'english' }), 3)
  await findsPieces((pieces) => pieces.textSearch('notes', 'repeat & theme', { config: 'english' }), 2)
  await finds((players) => players.textSearch('details', 'riga', { config: 'simple' }), 1)
})

await step('match is eq for every key', async () => {
  await finds((players) => players.match({ section_id: 1, rank: 'tutti' }), 2)
  await finds((players) => players.match({ section_id: 2, rank: undefined }), 3, 4)
  await finds((players) => players.match({}), 1, 2, 3, 4, 5, 6)
})

await step('not turns any operator', async () => {
  await finds((players) => players.not('rank', 'eq', 'tutti'), 1, 3)
  await finds((players) => players.not('id', 'in', '(1,2,3)'), 4, 5, 6)
  await finds((players) => players.not('active', 'is', null), 1, 2, 3, 5, 6)
  await finds((players) => players.not('instruments', 'cs', '{violin}'), 3, 4, 5, 6)
  await finds((players) => players.not('name', 'ilike', 'a%'), 2, 3, 4, 5, 6)
  await finds((players) => players.not('rank', 'isdistinct', 'tutti'), 2, 5)
  await findsPieces((pieces) => pieces.not('search', 'fts(english)', 'orchestra'), 3)
})

await step('or', async () => {
  await finds((players) => players.or('name.eq.Anna,name.eq.Emil'), 1, 5)
  await finds((players) => players.or('rank.is.null,fee.gt.100'), 1, 4, 6)
  await finds((players) => players.or('id.eq.1,name.eq."Fay (Jr), Lee"'), 1, 6)
})

await step('or with and, not and lists within', async () => {
  await finds((players) => players.or('id.eq.6,and(section_id.eq.1,rank.eq.tutti)'), 2, 6)
  await finds((players) => players.or('id.in.(1,2),instruments.cs.{horn}'), 1, 2, 5)
  await finds((players) => players.or('not.and(id.gt.1,id.lt.6)'), 1, 6)
  await finds((players) => players.or('id.not.gt.1,tenure.cs."[2015-02-01,2015-03-01)"').neq('id', 3), 1)
  await finds((players) => players.or('and(id.gt.1,or(fee.eq.80,fee.is.null)),name.like.A*'), 1, 2, 4, 5)
})

await step('several ors are all to hold', () =>
  finds((players) => players.or('id.eq.1,id.eq.2,id.eq.3').or('section_id.eq.2,rank.eq.tutti'), 2, 3))

await step('or on JSON paths', () => finds((players) => players.or('details->>city.eq.Rome,details->born.gt.1995'), 2, 4))

await step('filter takes any operator in the words of PostgREST', async () => {
  await finds((players) => players.filter('name', 'in', '("Anna","Bruno")'), 1, 2)
  await finds((players) => players.filter('id', 'not.in', '(1,2,3,4)'), 5, 6)
  await finds((players) => players.filter('active', 'is', 'unknown'), 4)
  await finds((players) => players.filter('active', 'is', 'not_null'), 1, 2, 3, 5, 6)
  await finds((players) => players.filter('tenure', 'adj', '[2020-01-01,2020-06-01)'), 1, 4)
  await finds((players) => players.filter('name', 'not.imatch', '^[a-d]'), 5, 6)
})

await step('any and all modify the comparisons', async () => {
  await finds((players) => players.filter('id', 'eq(any)', '{1,6,7}'), 1, 6)
  await finds((players) => players.filter('id', 'gt(all)', '{1,4}'), 5, 6)
  await finds((players) => players.filter('id', 'lte(any)', '{1,2}'), 1, 2)
  await finds((players) => players.filter('name', 'not.like(any)', '{A%,B%}'), 3, 4, 5, 6)
  await finds((players) => players.filter('name', 'match(all)', '{^A,a$}'), 1)
})

await step('filters on JSON paths compare text or JSON', async () => {
  await finds((players) => players.eq('details->>city', 'Rome'), 2)
  await finds((players) => players.gt('details->born', 1985), 3, 4)
  await finds((players) => players.eq('details->languages->>first', 'lv'), 1)
  await finds((players) => players.in('details->>city', ['Riga', 'Lyon']), 1, 3)
  await finds((players) => players.is('details->>city', null), 4, 5, 6)
  await finds((players) => players.eq('details->tags->>0', 'bow'), 1, 2)
})

await step('filters on fields of composite types and items of arrays', async () => {
  await finds((players) => players.eq('home->>city', 'Rome'), 2)
  await finds((players) => players.eq('instruments->>1', 'piccolo'), 3)
})

await step('filters on computed columns', () => finds((players) => players.in('initial', ['A', 'F']), 1, 6))

await step('names with spaces in filters', () =>
  answers(visitor.from('press cuttings').select('id').like('Head Line', 'Spring%'), [{ id: 2 }]))
