// select() with what foreign keys and functions relate: every cardinality, hints, joins, and all that is said of embedded rows.

import { answers, client, refuses, step } from './report.mjs'

const visitor = client()
const sections = (columns) => visitor.from('sections').select(columns).order('id')
const players = (columns) => visitor.from('players').select(columns).order('id')
const concerts = (columns) => visitor.from('concerts').select(columns).order('id')
const rehearsals = (columns) => visitor.from('rehearsals').select(columns).order('id')
const named = (name) => ({ name })

await step('many to one is an object, or null', () =>
  answers(players('name, sections(name)').in('id', [1, 6]),
    [{ name: 'Anna', sections: named('Strings') }, { name: 'Fay (Jr), Lee', sections: null }]))

await step('one to many is a list, or an empty one', () =>
  answers(sections('name, players(name)').order('id', { referencedTable: 'players' }), [
    { name: 'Strings', players: [named('Anna'), named('Bruno')] },
    { name: 'Woodwinds', players: [named('Chloe'), named('Dora')] },
    { name: 'Brass', players: [named('Emil')] },
    { name: 'Percussion', players: [] }
  ]))

await step('many to many goes through the junction', async () => {
  await answers(concerts('title, players(name)').order('name', { referencedTable: 'players' }), [
    { title: 'Spring Gala', players: [named('Anna'), named('Bruno'), named('Chloe')] },
    { title: 'Summer Night', players: [named('Anna'), named('Chloe')] },
    { title: 'Winter Matinee', players: [] }
  ])
  await answers(players('name, concerts(title)').eq('id', 2), [{ name: 'Bruno', concerts: [{ title: 'Spring Gala' }] }])
})

await step('one to one is an object on either side', async () => {
  await answers(players('name, contracts(salary)').in('id', [1, 2]),
    [{ name: 'Anna', contracts: { salary: 5000 } }, { name: 'Bruno', contracts: null }])
  await answers(visitor.from('contracts').select('salary, players(name)').order('salary'),
    [{ salary: 4200, players: named('Chloe') }, { salary: 5000, players: named('Anna') }])
})

await step('all columns of both', () =>
  answers(visitor.from('contracts').select('*, players(id, name)').eq('player_id', 3),
    [{ player_id: 3, salary: 4200, players: { id: 3, name: 'Chloe' } }]))

await step('an embed has another name when it is asked for', () =>
  answers(players('name, section:sections(title:name)').eq('id', 5), [{ name: 'Emil', section: { title: 'Brass' } }]))

await step('one table is embedded twice under two names', () =>
  answers(sections('name, all:players(id), first:players(name)').eq('id', 1)
    .order('id', { referencedTable: 'all' }).order('id', { referencedTable: 'first' }).limit(1, { referencedTable: 'first' }),
  [{ name: 'Strings', all: [{ id: 1 }, { id: 2 }], first: [named('Anna')] }]))

await step('a column names its relationship', () =>
  answers(rehearsals('room, leader:leader_id(name), deputy:deputy_id(name)').eq('id', 1),
    [{ room: 'Hall A', leader: named('Anna'), deputy: named('Bruno') }]))

await step('a hint is the column', () =>
  answers(rehearsals('leader:players!leader_id(name), deputy:players!deputy_id(name)').eq('id', 2),
    [{ leader: named('Chloe'), deputy: null }]))

await step('a hint is the constraint', async () => {
  await answers(rehearsals('players!rehearsals_leader_id_fkey(name)').eq('id', 3), [{ players: named('Anna') }])
  await answers(players('name, led:rehearsals!rehearsals_leader_id_fkey(room), helped:rehearsals!rehearsals_deputy_id_fkey(room)')
    .eq('id', 3),
  [{ name: 'Chloe', led: [{ room: 'Hall B' }], helped: [{ room: 'Hall A' }] }])
})

await step('a constraint names its relationship', () =>
  answers(players('name, players_section_id_fkey(name)').eq('id', 3),
    [{ name: 'Chloe', players_section_id_fkey: named('Woodwinds') }]))

await step('a hint is the junction', () =>
  answers(concerts('title, players!performances(name)').eq('id', 2).order('name', { referencedTable: 'players' }),
    [{ title: 'Summer Night', players: [named('Anna'), named('Chloe')] }]))

await step('without the hint the answer lists the choices', () =>
  refuses(rehearsals('room, players(name)'), {
    status: 300,
    code: 'PGRST201',
    message: "Could not embed because more than one relationship was found for 'rehearsals' and 'players'",
    details: [
      {
        cardinality: 'many-to-one',
        embedding: 'rehearsals with players',
        relationship: 'rehearsals_deputy_id_fkey using rehearsals(deputy_id) and players(id)'
      },
      {
        cardinality: 'many-to-one',
        embedding: 'rehearsals with players',
        relationship: 'rehearsals_leader_id_fkey using rehearsals(leader_id) and players(id)'
      }
    ],
    hint: "Try changing 'players' to one of the following: 'players!rehearsals_deputy_id_fkey', " +
      "'players!rehearsals_leader_id_fkey'. Find the desired relationship in the 'details' key."
  }))

await step('a table that refers to itself: the column is the one, the table the many', async () => {
  await answers(players('name, teacher:teacher_id(name)').in('id', [1, 2]),
    [{ name: 'Anna', teacher: null }, { name: 'Bruno', teacher: named('Anna') }])
  await answers(players('name, students:players(name)').in('id', [1, 2]).order('id', { referencedTable: 'students' }),
    [{ name: 'Anna', students: [named('Bruno'), named('Emil')] }, { name: 'Bruno', students: [] }])
  await answers(players('name, students:players!teacher_id(name)').eq('id', 3), [{ name: 'Chloe', students: [named('Dora')] }])
})

await step('computed relationships, to one and to many', async () => {
  await answers(players('name, mentor(name)').in('id', [1, 5]),
    [{ name: 'Anna', mentor: null }, { name: 'Emil', mentor: named('Anna') }])
  await answers(players('name, pupils(name)').in('id', [1, 2]).order('name', { referencedTable: 'pupils', ascending: false }),
    [{ name: 'Anna', pupils: [named('Emil'), named('Bruno')] }, { name: 'Bruno', pupils: [] }])
})

await step('computed columns of embedded rows', () =>
  answers(sections('name, players(initial)').eq('id', 3), [{ name: 'Brass', players: [{ initial: 'E' }] }]))

await step('embeds nest', () =>
  answers(concerts('title, performances(part, players(name, sections(name)))').eq('id', 2)
    .order('part', { referencedTable: 'performances' }),
  [{
    title: 'Summer Night',
    performances: [
      { part: 'flute', players: { name: 'Chloe', sections: named('Woodwinds') } },
      { part: 'solo', players: { name: 'Anna', sections: named('Strings') } }
    ]
  }]))

await step('through a junction to its other side, and on', () =>
  answers(rehearsals('room, concerts(title, players(name))').eq('id', 2)
    .order('name', { referencedTable: 'concerts.players' }).limit(2, { referencedTable: 'concerts.players' }),
  [{ room: 'Hall B', concerts: { title: 'Spring Gala', players: [named('Anna'), named('Bruno')] } }]))

await step('names with spaces are quoted', () =>
  answers(concerts('title, "press cuttings"("Head Line")').eq('id', 1),
    [{ title: 'Spring Gala', 'press cuttings': [{ 'Head Line': 'Spring is here' }] }]))

await step('views have the relationships of their tables', async () => {
  await answers(visitor.from('principals').select('name, sections(name), contracts(salary)'),
    [{ name: 'Anna', sections: named('Strings'), contracts: { salary: 5000 } }])
  await answers(sections('name, principals(name)').in('id', [1, 2]),
    [{ name: 'Strings', principals: [named('Anna')] }, { name: 'Woodwinds', principals: [] }])
  await answers(visitor.from('principals').select('name, concerts(title)').order('id', { referencedTable: 'concerts' }),
    [{ name: 'Anna', concerts: [{ title: 'Spring Gala' }, { title: 'Summer Night' }] }])
})

await step('materialised views have them, too', () =>
  answers(players('name, section_sizes(size)').in('id', [1, 5]),
    [{ name: 'Anna', section_sizes: { size: 2 } }, { name: 'Emil', section_sizes: { size: 1 } }]))

await step('a filter on embedded rows leaves their parents', async () => {
  await answers(sections('name, players(name)').eq('players.rank', 'tutti').in('id', [1, 2]),
    [{ name: 'Strings', players: [named('Bruno')] }, { name: 'Woodwinds', players: [] }])
  await answers(players('name, sections(name)').eq('sections.name', 'Brass').in('id', [1, 5]),
    [{ name: 'Anna', sections: null }, { name: 'Emil', sections: named('Brass') }])
})

await step('!inner leaves parents out', async () => {
  await answers(sections('name, players!inner(name)').eq('players.rank', 'tutti'),
    [{ name: 'Strings', players: [named('Bruno')] }, { name: 'Brass', players: [named('Emil')] }])
  await answers(players('name, sections!inner(name)').eq('sections.name', 'Brass'),
    [{ name: 'Emil', sections: named('Brass') }])
  await answers(players('name, contracts!inner(salary)').gt('contracts.salary', 4500),
    [{ name: 'Anna', contracts: { salary: 5000 } }])
  await answers(concerts('title, players!inner(name)').eq('players.name', 'Bruno'),
    [{ title: 'Spring Gala', players: [named('Bruno')] }])
})

await step('!inner with a hint and an alias', () =>
  answers(rehearsals('room, deputy:players!rehearsals_deputy_id_fkey!inner(name)').eq('deputy.name', 'Chloe'),
    [{ room: 'Hall A', deputy: named('Chloe') }]))

await step('!inner within !inner', () =>
  answers(sections('name, players!inner(name, contracts!inner(salary))').gt('players.contracts.salary', 4500),
    [{ name: 'Strings', players: [{ name: 'Anna', contracts: { salary: 5000 } }] }]))

await step('!left keeps parents, as without it', () =>
  answers(sections('name, players!left(name)').eq('id', 4), [{ name: 'Percussion', players: [] }]))

await step('an embed without columns filters and is not shown', () =>
  answers(players('name, sections!inner()').eq('sections.name', 'Brass'), [named('Emil')]))

await step('parents with and without rows: null filters on the embed', async () => {
  await answers(sections('name, players()').is('players', null), [named('Percussion')])
  await answers(sections('name, players()').not('players', 'is', null), [named('Strings'), named('Woodwinds'), named('Brass')])
  await answers(players('name, contracts(salary)').not('contracts', 'is', null),
    [{ name: 'Anna', contracts: { salary: 5000 } }, { name: 'Chloe', contracts: { salary: 4200 } }])
  await answers(concerts('title, players()').eq('players.name', 'Bruno').is('players', null),
    [{ title: 'Summer Night' }, { title: 'Winter Matinee' }])
})

await step('or across embeds', () =>
  answers(players('name, contracts(), sections()').gt('contracts.salary', 4500).eq('sections.name', 'Brass')
    .or('contracts.not.is.null,sections.not.is.null'),
  [named('Anna'), named('Emil')]))

await step('or within embedded rows', async () => {
  await answers(sections('name, players(name)').or('name.eq.Anna,rank.eq.tutti', { referencedTable: 'players' }).eq('id', 1)
    .order('id', { referencedTable: 'players' }),
  [{ name: 'Strings', players: [named('Anna'), named('Bruno')] }])
  await answers(sections('name, players!inner(name)').or('name.eq.Dora,rank.eq.soloist', { foreignTable: 'players' })
    .order('id', { foreignTable: 'players' }),
  [{ name: 'Woodwinds', players: [named('Chloe'), named('Dora')] }])
})

await step('filters, orders and limits of an alias', () =>
  answers(sections('name, crew:players(name)').neq('crew.name', 'Bruno').order('name', { referencedTable: 'crew', ascending: false })
    .limit(1, { referencedTable: 'crew' }).in('id', [1, 2]),
  [{ name: 'Strings', crew: [named('Anna')] }, { name: 'Woodwinds', crew: [named('Dora')] }]))

await step('filters of every operator on embedded rows', async () => {
  const found = (narrow, ...names) =>
    answers(narrow(sections('players(name)').eq('id', 1).order('id', { referencedTable: 'players' })), [{ players: names.map(named) }])
  await found((query) => query.in('players.id', [2, 3]), 'Bruno')
  await found((query) => query.contains('players.instruments', ['viola']), 'Anna')
  await found((query) => query.like('players.name', 'B%'), 'Bruno')
  await found((query) => query.is('players.teacher_id', null), 'Anna')
  await found((query) => query.eq('players.details->>city', 'Rome'), 'Bruno')
  await found((query) => query.not('players.rank', 'eq', 'tutti'), 'Anna')
  await found((query) => query.filter('players.fee', 'gte', 80), 'Anna', 'Bruno')
})

await step('embedded rows are ordered, limited and paged', async () => {
  const page = (narrow, ...names) => answers(narrow(concerts('players(name)').eq('id', 1)), [{ players: names.map(named) }])
  await page((query) => query.order('name', { referencedTable: 'players', ascending: false }), 'Chloe', 'Bruno', 'Anna')
  await page((query) => query.order('section_id', { referencedTable: 'players', ascending: false })
    .order('name', { referencedTable: 'players' }), 'Chloe', 'Anna', 'Bruno')
  await page((query) => query.order('name', { referencedTable: 'players' }).limit(2, { referencedTable: 'players' }), 'Anna', 'Bruno')
  await page((query) => query.order('name', { referencedTable: 'players' }).range(1, 2, { referencedTable: 'players' }),
    'Bruno', 'Chloe')
  await page((query) => query.order('name', { foreignTable: 'players' }).range(2, 5, { foreignTable: 'players' }), 'Chloe')
})

await step('parents are ordered by the one that they embed', async () => {
  await answers(visitor.from('players').select('id, sections(name)').order('sections(name)').order('id', { ascending: false }), [
    { id: 5, sections: named('Brass') },
    { id: 2, sections: named('Strings') },
    { id: 1, sections: named('Strings') },
    { id: 4, sections: named('Woodwinds') },
    { id: 3, sections: named('Woodwinds') },
    { id: 6, sections: null }
  ])
  await answers(visitor.from('players').select('id, section:sections(name)').order('section(name)', { ascending: false, nullsFirst: true })
    .order('id').limit(2),
  [{ id: 6, section: null }, { id: 3, section: named('Woodwinds') }])
})

await step('parents cannot be ordered by the many that they embed', () =>
  refuses(visitor.from('sections').select('name, players(name)').order('players(name)'), {
    status: 400,
    code: 'PGRST118',
    message: "A related order on 'players' is not possible",
    details: "'sections' and 'players' do not form a many-to-one or one-to-one relationship",
    hint: null
  }))

await step('an embed can be counted', () =>
  answers(sections('name, players(count)'), [
    { name: 'Strings', players: [{ count: 2 }] },
    { name: 'Woodwinds', players: [{ count: 2 }] },
    { name: 'Brass', players: [{ count: 1 }] },
    { name: 'Percussion', players: [{ count: 0 }] }
  ]))

await step('the count of an embed heeds its filters', () =>
  answers(sections('name, players(count)').eq('players.active', true).in('id', [1, 2]),
    [{ name: 'Strings', players: [{ count: 2 }] }, { name: 'Woodwinds', players: [{ count: 0 }] }]))

await step('what is not related cannot be embedded', () =>
  refuses(players('name, pieces(title)'), {
    status: 400,
    code: 'PGRST200',
    message: "Could not find a relationship between 'players' and 'pieces' in the schema cache",
    details: "Searched for a foreign key relationship between 'players' and 'pieces' in the schema 'public', but no matches were found."
  }))

await step('a name that is nearly right is pointed out', () =>
  refuses(players('name, section(name)'), {
    status: 400,
    code: 'PGRST200',
    message: "Could not find a relationship between 'players' and 'section' in the schema cache",
    details: "Searched for a foreign key relationship between 'players' and 'section' in the schema 'public', but no matches were found.",
    hint: "Perhaps you meant 'sections' instead of 'section'."
  }))

await step('a hint that fits nothing is named', () =>
  refuses(players('name, sections!by_nobody(name)'), {
    status: 400,
    code: 'PGRST200',
    message: "Could not find a relationship between 'players' and 'sections' in the schema cache",
    details: "Searched for a foreign key relationship between 'players' and 'sections' using the hint 'by_nobody' in the schema " +
      "'public', but no matches were found."
  }))

await step('filters and orders of what is not embedded are refused', async () => {
  await refuses(players('name').eq('concerts.title', 'Spring Gala'), {
    status: 400,
    code: 'PGRST108',
    message: "'concerts' is not an embedded resource in this request",
    details: null,
    hint: "Verify that 'concerts' is included in the 'select' query parameter."
  })
  await refuses(visitor.from('players').select('name').order('sections(name)'), {
    status: 400, code: 'PGRST108', message: "'sections' is not an embedded resource in this request"
  })
})
