// Presence: who is there, who comes, who goes.

import assert from 'node:assert/strict'
import { finish, inbox, join, member, own, step } from './members.mjs'

// A channel of its own client, with what it is told.
function visitor (name, { key, ...presence } = {}) {
  const supabase = member()
  const channel = supabase.channel(name, { config: { presence: { key, ...presence } } })
  const events = { sync: inbox(), join: inbox(), leave: inbox() }
  for (const event of Object.keys(events)) channel.on('presence', { event }, events[event].take)
  return { supabase, channel, ...events }
}

const names = (channel) => Object.fromEntries(
  Object.entries(channel.presenceState()).map(([key, metas]) => [key, metas.map(({ name }) => name).sort()])
)
const bare = (presences) => presences.map(({ presence_ref, ...meta }) => meta)

await step('everybody is told who is there, who comes and who goes', async () => {
  const [ann, bob] = ['ann', 'bob'].map((key) => visitor(own('hall'), { key }))
  await join(ann.channel)
  await ann.sync.count(1)
  assert.deepEqual(ann.channel.presenceState(), {})
  assert.equal(await ann.channel.track({ name: 'Ann', at: '2026-01-01' }), 'ok')
  await ann.join.count(1)
  assert.deepEqual(names(ann.channel), { ann: ['Ann'] })

  await join(bob.channel)
  await bob.sync.count(1)
  assert.deepEqual(names(bob.channel), { ann: ['Ann'] })
  assert.equal(await bob.channel.track({ name: 'Bob' }), 'ok')
  const came = await ann.join.find(({ key }) => key === 'bob')
  assert.deepEqual([came.event, came.currentPresences, bare(came.newPresences)], ['join', [], [{ name: 'Bob' }]])
  assert.match(came.newPresences[0].presence_ref, /./)
  assert.deepEqual(names(ann.channel), { ann: ['Ann'], bob: ['Bob'] })

  assert.equal(await bob.channel.untrack(), 'ok')
  const left = await ann.leave.find(({ key }) => key === 'bob')
  assert.deepEqual([left.event, left.currentPresences, bare(left.leftPresences)], ['leave', [], [{ name: 'Bob' }]])
  assert.deepEqual(names(ann.channel), { ann: ['Ann'] })
})

await step('tracking again replaces what is known', async () => {
  const [ann, bob] = ['ann', 'bob'].map((key) => visitor(own('again'), { key }))
  await Promise.all([ann, bob].map(({ channel }) => join(channel)))
  await ann.channel.track({ name: 'Ann' })
  await bob.join.count(1)
  await ann.channel.track({ name: 'Ann', typing: true })
  await bob.join.count(2)
  await bob.sync.until(() => bob.channel.presenceState().ann.length === 1)
  assert.deepEqual(bare(bob.channel.presenceState().ann).map(({ name, typing }) => [name, typing]), [['Ann', true]])
  assert.deepEqual(bare(bob.leave.items[0].leftPresences), [{ name: 'Ann' }])
})

await step('one key may be there several times', async () => {
  const visitors = ['phone', 'tablet'].map(() => visitor(own('twice'), { key: 'ann' }))
  const watcher = visitor(own('twice'), { key: 'watcher' })
  await Promise.all([...visitors, watcher].map(({ channel }) => join(channel)))
  await visitors[0].channel.track({ name: 'phone' })
  await visitors[1].channel.track({ name: 'tablet' })
  await watcher.join.count(2)
  assert.deepEqual(names(watcher.channel), { ann: ['phone', 'tablet'] })
  await visitors[0].channel.unsubscribe()
  await watcher.leave.count(1)
  assert.deepEqual(names(watcher.channel), { ann: ['tablet'] })
})

await step('leaving and disconnecting are told like untracking', async () => {
  const watcher = visitor(own('gone'), { key: 'watcher' })
  const [leaves, closes] = ['leaves', 'closes'].map((key) => visitor(own('gone'), { key }))
  await Promise.all([watcher, leaves, closes].map(({ channel }) => join(channel)))
  await Promise.all([leaves.channel.track({ name: 'L' }), closes.channel.track({ name: 'C' })])
  await watcher.join.count(2)
  await leaves.supabase.removeChannel(leaves.channel)
  await closes.supabase.realtime.disconnect()
  await watcher.leave.count(2)
  assert.deepEqual(watcher.leave.items.map(({ key }) => key).sort(), ['closes', 'leaves'])
  assert.deepEqual(watcher.channel.presenceState(), {})
})

await step('without a key of its own everybody gets one', async () => {
  const [one, two] = [visitor(own('keys')), visitor(own('keys'))]
  await Promise.all([one, two].map(({ channel }) => join(channel)))
  await Promise.all([one, two].map(({ channel }) => channel.track({ name: 'same' })))
  await one.sync.until(() => Object.keys(one.channel.presenceState()).length === 2)
  for (const key of Object.keys(one.channel.presenceState())) assert.match(key, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
})

await step('`enabled` is enough to see the others, and no listener is needed to be seen', async () => {
  const watcher = member().channel(own('quiet'), { config: { presence: { enabled: true } } })
  const told = inbox()
  const witness = visitor(own('quiet'), { key: 'witness' })
  const seen = member().channel(own('quiet'), { config: { presence: { key: 'seen' } } })
  watcher.on('broadcast', { event: 'now' }, told.take)
  await Promise.all([join(watcher), join(witness.channel), join(seen)])
  await seen.track({ name: 'Seen' })
  await witness.join.find(({ key }) => key === 'seen')
  await witness.channel.send({ type: 'broadcast', event: 'now', payload: {} })
  await told.count(1)
  assert.deepEqual(names(watcher), { seen: ['Seen'] })
})

await step('ten who come at once are all seen by all', async () => {
  const visitors = [...Array(10).keys()].map((n) => visitor(own('crowd'), { key: `v${n}` }))
  await Promise.all(visitors.map(async ({ channel }, n) => {
    await join(channel)
    await channel.track({ name: String(n) })
  }))
  const all = Object.fromEntries(visitors.map((_, n) => [`v${n}`, [String(n)]]))
  for (const { channel, sync } of visitors) {
    await sync.until(() => Object.keys(channel.presenceState()).length === 10)
    assert.deepEqual(names(channel), all)
  }
})

await finish()
