// Every filter of a subscription, as text and by the builder: one channel with a binding for each, and rows for all.

import assert from 'node:assert/strict'
import { postgresChangesFilter } from '@supabase/supabase-js'
import { changes, finish, good, live, member, own, step } from './members.mjs'

const supabase = member()
const batch = own('batch')
const ROWS = [
  { name: 'apple', amount: 5, active: true, taken_on: '2026-01-01' },
  { name: 'Apricot', amount: 10, active: false, taken_on: '2026-01-02' },
  { name: 'banana, ripe', amount: 9.5, active: null, taken_on: null },
  { name: 'fig (dried)', amount: null, active: true, taken_on: '2025-12-31' },
  { name: 'say "cheese"', amount: -1, active: false, taken_on: '2026-03-01' },
  { name: 'back\\slash', amount: 100, active: null, taken_on: '2026-01-02' },
  { name: ' blank ', amount: 7, active: true, taken_on: '2026-01-03' },
  { name: 'x=y.z', amount: 8, active: true, taken_on: '2026-01-04' }
].map((row) => ({ ...row, batch }))
const [apple, apricot, banana, fig, cheese, back, blank, equal] = ROWS.map(({ name }) => name)
const ALL = ROWS.map(({ name }) => name)
const but = (...names) => ALL.filter((name) => !names.includes(name))

const TEXTS = [
  ['amount=eq.10', [apricot]],
  ['amount=eq.5.0', [apple]],
  ['amount=neq.10', but(apricot, fig)],
  ['amount=lt.9', [apple, cheese, blank, equal]],
  ['amount=lte.9.5', [apple, banana, cheese, blank, equal]],
  ['amount=gt.9.5', [apricot, back]],
  ['amount=gte.9.5', [apricot, banana, back]],
  ['amount=in.(5,100)', [apple, back]],
  ['amount=not.in.(5,100)', but(apple, back, fig)],
  ['amount=not.eq.5', but(apple, fig)],
  ['amount=not.gt.7', [apple, cheese, blank]],
  ['amount=is.null', [fig]],
  ['amount=not.is.null', but(fig)],
  ['amount=isdistinct.5', but(apple)],
  ['amount=not.isdistinct.5', [apple]],
  ['active=is.true', [apple, fig, blank, equal]],
  ['active=is.false', [apricot, cheese]],
  ['active=is.unknown', [banana, back]],
  ['active=not.is.true', [apricot, banana, cheese, back]],
  ['active=eq.true', [apple, fig, blank, equal]],
  ['taken_on=gte.2026-01-02', [apricot, cheese, back, blank, equal]],
  ['taken_on=lt.2026-01-01', [fig]],
  ['name=eq.apple', [apple]],
  ['name=like.ap%', [apple]],
  ['name=ilike.AP%', [apple, apricot]],
  ['name=not.ilike.ap%', but(apple, apricot)],
  ['name=match.^[A-Z]', [apricot]],
  ['name=imatch.^ap+', [apple, apricot]],
  ['name=not.match.a', [apricot, fig, equal]],
  ['name=eq."banana, ripe"', [banana]],
  ['name=in.("banana, ripe","fig (dried)",apple)', [apple, banana, fig]],
  ['name=eq."say \\"cheese\\""', [cheese]],
  ['name=eq.x=y.z', [equal]],
  ['amount=gt.5,amount=lt.10', [banana, blank, equal]],
  ['name=ilike.a%,active=is.true,amount=lte.5', [apple]],
  ['name=eq.nothing', []],
  ['', ALL]
]

const BUILT = [
  [(filter) => filter.eq('amount', 10), [apricot]],
  [(filter) => filter.neq('amount', 10), but(apricot, fig)],
  [(filter) => filter.gt('amount', 5).lt('amount', 10), [banana, blank, equal]],
  [(filter) => filter.gte('amount', 9.5).lte('amount', 10), [apricot, banana]],
  [(filter) => filter.in('name', [banana, fig, cheese, back, blank]), [banana, fig, cheese, back, blank]],
  [(filter) => filter.like('name', 'b%'), [banana, back]],
  [(filter) => filter.ilike('name', '%AP%'), [apple, apricot]],
  [(filter) => filter.match('name', '^(apple|back)'), [apple, back]],
  [(filter) => filter.imatch('name', 'APRICOT|"'), [apricot, cheese]],
  [(filter) => filter.is('active', null), [banana, back]],
  [(filter) => filter.is('active', true), [apple, fig, blank, equal]],
  [(filter) => filter.isDistinct('amount', 5), but(apple)],
  [(filter) => filter.not('name', 'in', [apple, banana]), but(apple, banana)],
  [(filter) => filter.not('amount', 'is', null), but(fig)],
  [(filter) => filter.not('name', 'like', 'b%').eq('active', true), [apple, fig, blank, equal]],
  [(filter) => filter.eq('name', back), [back]],
  [(filter) => filter.eq('name', blank), [blank]],
  [(filter) => filter, ALL]
]

await step('every filter lets through its rows and no others', async () => {
  const channel = supabase.channel(own('filters'))
  const bind = (filter) => changes(channel, { event: 'INSERT', table: 'measures', filter })
  const texts = TEXTS.map(([filter, wanted]) => ({ filter, wanted, seen: bind(filter) }))
  const other = supabase.channel(own('built'))
  const built = BUILT.map(([build, wanted]) => {
    const filter = build(postgresChangesFilter())
    return { filter: filter.build(), wanted, seen: changes(other, { event: 'INSERT', table: 'measures', filter }) }
  })
  await Promise.all([live(channel), live(other)])
  good(await supabase.from('measures').insert(ROWS))
  await Promise.all([texts.at(-1), built.at(-1)].map(({ seen }) => seen.count(ROWS.length)))
  const found = ({ filter, seen }) => [filter, seen.items.map((change) => change.new.name)]
  for (const cases of [texts, built]) {
    assert.deepEqual(cases.map(found), cases.map(({ filter, wanted }) => [filter, wanted]))
  }
})

await step('an update is filtered by its new row, a delete by what is known of the old one', async () => {
  const channel = supabase.channel(own('rows'))
  const [row] = good(await supabase.from('measures').insert({ batch: own('rows'), name: 'before', amount: 1 }).select())
  const before = changes(channel, { table: 'measures', filter: 'name=eq.before' })
  const after = changes(channel, { table: 'measures', filter: 'name=eq.after' })
  const same = changes(channel, { table: 'measures', filter: `id=eq.${row.id}` })
  await live(channel)
  good(await supabase.from('measures').update({ name: 'after' }).eq('id', row.id))
  good(await supabase.from('measures').delete().eq('id', row.id))
  await same.count(2)
  const events = ({ items }) => items.map(({ eventType }) => eventType)
  assert.deepEqual([before, after, same].map(events), [[], ['UPDATE'], ['UPDATE', 'DELETE']])
})

await finish()
