// What cannot be subscribed to, and waiting until a subscription is live.

import assert from 'node:assert/strict'
import { changes, finish, good, inbox, join, member, own, service, step } from './members.mjs'

const supabase = member()
const keeper = service()

const parameters = (table, { filters = '[]', select = 'nil', event = '*' } = {}) =>
  `[event: ${event}, schema: public, table: ${table}, filters: ${filters}, select: ${select}]`
const exception = (table, more, text) =>
  `Unable to subscribe to changes with given parameters. An exception happened so please check your connect parameters: ${parameters(table, more)}. Exception: ERROR P0001 (raise_exception) ${text}`
const disabled = (table) =>
  `Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given connect parameters: ${parameters(table)}`

// The messages with which the subscription fails; the channel itself is joined.
async function complaint (...bindings) {
  const channel = supabase.channel(own(JSON.stringify(bindings)).slice(-60))
  const system = inbox()
  for (const binding of bindings) channel.on('postgres_changes', binding, () => {})
  channel.on('system', {}, system.take)
  await join(channel)
  const told = await system.find(({ extension }) => extension === 'postgres_changes')
  assert.deepEqual([told.status, told.channel], ['error', channel.subTopic])
  assert.equal(channel.state, 'joined')
  await channel.unsubscribe()
  return told.message
}

const on = (table, filter, more = {}) => ({ event: '*', schema: 'public', table, filter, ...more })

await step('each mistake has its message', async () => {
  const many = `amount=in.(${[...Array(101).keys()].join(',')})`
  const exact = [
    [on('nope'), disabled('nope')],
    [on('unpublished'), disabled('unpublished')],
    [on('measures', 'foo.hey'), 'Error parsing `filter` params: ["foo.hey"]'],
    [on('measures', 'foo=hey'), 'Error parsing `filter` params: ["hey"]'],
    [on('measures', 'amount=foo.hey'), 'Error parsing `filter` params: ["foo", "hey"]'],
    [on('measures', 'amount=in.1'), 'Error parsing `filter` params: `in` filter value must be wrapped by parentheses'],
    [on('measures', 'amount=gt.1,,amount=lt.2'), 'Error parsing `filter` params: filter must not contain empty segments (check for extra commas)'],
    [{ event: '*', schema: 'public', filter: 'amount=gt.1' }, /^No subscription params provided\. Please provide at least a `schema` or `table` to subscribe to: /],
    [{ event: '*' }, /^No subscription params provided\. Please provide at least a `schema` or `table` to subscribe to: /],
    [{ event: '*', schema: 'public', table: '*', select: ['id'] }, 'Column selection is not supported for wildcard subscriptions. Provide an explicit schema and table name.'],
    [on('measures', undefined, { select: 'id' }), 'Error parsing `select` params: expected a list of column name strings, e.g. select: ["col1", "col2"]'],
    [on('measures', 'nope=eq.1'), exception('measures', { filters: '[{"nope", "eq", "1", false}]' }, 'invalid column for filter nope')],
    [on('measures', undefined, { select: ['nope'] }), exception('measures', { select: '["nope"]' }, 'invalid column for select nope')],
    [on('people', 'salary=gt.1'), exception('people', { filters: '[{"salary", "gt", "1", false}]' }, 'invalid column for filter salary')],
    [on('measures', many), /Exception: ERROR P0001 \(raise_exception\) too many values for `in` filter\. Maximum 100$/],
    [on('measures', 'amount=like.1%'), /Exception: ERROR P0001 \(raise_exception\) operator like requires a text-compatible column type, got numeric$/],
    [on('measures', 'amount=eq.many'), /Exception: ERROR 22P02 \(invalid_text_representation\) invalid input syntax for type numeric: "many"$/]
  ]
  const found = await Promise.all(exact.map(([binding]) => complaint(binding)))
  const differing = exact.map(([, wanted], n) => [wanted, found[n]])
    .filter(([wanted, message]) => wanted instanceof RegExp ? !wanted.test(message) : wanted !== message)
  assert.deepEqual(differing, [])
})

await step('one bad binding fails all of its join', async () => {
  assert.equal(await complaint(on('measures'), on('nope')), disabled('nope'))
})

await step('a subscription can be waited for', async () => {
  const channel = supabase.channel(own('wait'), { config: { postgres_changes_options: { wait: true } } })
  const seen = changes(channel, { event: 'INSERT', table: 'todos' })
  await join(channel)
  good(await keeper.from('todos').insert({ title: own('waited') }))
  assert.equal((await seen.count(1))[0].new.title, own('waited'))
})

await step('who waits for what cannot be is refused', async () => {
  const channel = supabase.channel(own('wait in vain'), { config: { postgres_changes_options: { wait: true, timeout: 2000 } } })
  changes(channel, { table: 'nope' })
  await assert.rejects(join(channel), { message: `RealtimeDisabledForConfiguration: ${disabled('nope')}` })
})

await step('a channel needs a name', async () => {
  await assert.rejects(join(supabase.channel('')), { message: 'TopicNameRequired: You must provide a topic name' })
})

await finish()
