// An app's notification screens through unmodified supabase-js: the bell, read receipts, preferences, devices (documents 003, 004).

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { client, good, service, step } from './steps.mjs'

const ann = client()
const bob = client()
const visitor = client()
const state = { bell: [], bobsBell: [], visitorsBell: [] }

async function signUp (supabase) {
  const { user } = good(await supabase.auth.signUp({ email: `${randomUUID()}@example.com`, password: 'long enough' }))
  return user.id
}

// Resolves once the channel's changes flow.
function subscribe (supabase, seen) {
  return new Promise((resolve, reject) => {
    supabase.channel('bell')
      .on('postgres_changes', { event: '*', schema: 'public', table: 'notifications' }, (change) => seen.push(change))
      .on('system', {}, (message) => {
        if (message.extension !== 'postgres_changes') return
        if (message.status === 'ok') resolve()
        else reject(new Error(message.message))
      })
      .subscribe((status, error) => { if (error) reject(error) })
  })
}

async function until (condition, what) {
  const deadline = Date.now() + 15000
  while (!condition()) {
    if (Date.now() > deadline) assert.fail(`not in time: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

const issue = (name, subject) => service.rpc('issue_notification', {
  event_type: 'greeting', subject_id: subject, context: { name }, channels: ['in_app']
})

await step('what happens to Ann rings at her bell and at nobody else\'s', async () => {
  state.ann = await signUp(ann)
  state.bob = await signUp(bob)
  await subscribe(ann, state.bell)
  await subscribe(bob, state.bobsBell)
  await subscribe(visitor, state.visitorsBell)
  state.event = good(await issue('Ann', state.ann))
  await until(() => state.bell.length === 1, 'the first notification')
  good(await issue('again', state.ann))
  good(await issue('Bob', state.bob))
  await until(() => state.bell.length === 2 && state.bobsBell.length === 1, 'three notifications')
  assert.deepEqual(state.bell.map((change) => change.new.title), ['For Ann', 'For again'])
  assert.deepEqual(state.bobsBell.map((change) => change.new.title), ['For Bob'])
  assert.ok(state.visitorsBell.every((change) => Object.keys(change.new).length === 0), 'a visitor hears of no row')
})

await step('unread ones are counted by channel and marked in one call', async () => {
  assert.deepEqual(good(await ann.rpc('unread_notification_counts')), [{ channel: 'in_app', unread: 2 }])
  const first = state.bell[0].new
  assert.equal(good(await ann.rpc('mark_notifications_read', { ids: [first.id] })), 1)
  assert.equal(good(await bob.rpc('mark_notifications_read', { ids: [state.bell[1].new.id] })), 0)
  assert.deepEqual(good(await ann.rpc('unread_notification_counts')), [{ channel: 'in_app', unread: 1 }])
  assert.equal(good(await ann.rpc('mark_notifications_read')), 1)
  await until(() => state.bell.length === 4, 'the read receipts')
  assert.ok(state.bell[3].new.read_at)
})

await step('a page of notifications is read, marked and put away row by row', async () => {
  const page = good(await ann.from('notifications').select('id, title, type, data').is('archived_at', null).order('created_at'))
  assert.deepEqual(page.map((row) => row.title), ['For Ann', 'For again'])
  good(await ann.from('notifications').update({ archived_at: new Date().toISOString() }).eq('id', page[0].id))
  assert.equal(good(await ann.rpc('archive_notifications')), 1)
  const { error } = await ann.from('notifications').update({ title: 'forged' }).eq('id', page[0].id)
  assert.equal(error.code, '42501')
})

await step('a message that was opened is told by its queue item', async () => {
  const [item] = good(await ann.from('notification_queue').select('id, status, channel').eq('event_id', state.event))
  assert.equal(good(await ann.rpc('mark_queue_item_read', { queue_id: item.id })), true)
  const { error } = await bob.rpc('mark_queue_item_read', { queue_id: item.id })
  assert.equal(error.code, 'PT404')
})

await step('preferences are the person\'s own to edit, and contradictions are told', async () => {
  const wanted = {
    user_id: state.ann,
    timezone: 'Europe/Vienna',
    quiet_hours_start: '22:00',
    quiet_hours_end: '07:00',
    digest_frequency: 'daily',
    channel_settings: { push: { enabled: false }, events: { 'gig.new': { channels: ['in_app', 'push'], digest: 'none' } } }
  }
  for (const locale of ['de', 'de-AT']) {
    const saved = good(await ann.from('notification_preferences').upsert({ ...wanted, locale }).select().single())
    assert.equal(saved.locale, locale)
  }
  const wrong = [
    [{ timezone: 'Mars/Olympus' }, /no time zone Mars\/Olympus/],
    [{ channel_settings: { pigeon: {} } }, /no channel pigeon/],
    [{ quiet_hours_end: null }, /belong together/],
    [{ quiet_hours_end: '22:00' }, /never or always/],
    [{ timezone: 'UTC+25' }, /no time zone/],
    [{ locale: 'english' }, /no language tag/],
    [{ rate_limit_per_hour: -1 }, /negative/],
    [{ channel_settings: { events: { offer: { enabled: false, channels: ['push'] } } } }, /contradicts itself/],
    [{ channel_settings: { events: { offer: { enabled: true, channels: [] } } } }, /contradicts itself/]
  ]
  for (const [change, message] of wrong) {
    const { error, status } = await ann.from('notification_preferences').update(change).eq('user_id', state.ann)
    assert.equal(status, 400)
    assert.match(error.message, message)
  }
  const large = { channel_settings: { events: { ['x'.repeat(20000)]: { enabled: false } } } }
  assert.equal((await ann.from('notification_preferences').update(large).eq('user_id', state.ann)).status, 413)
  const { error } = await bob.from('notification_preferences').upsert({ ...wanted, locale: 'en' })
  assert.equal(error.code, '42501')
  assert.deepEqual(good(await bob.from('notification_preferences').select()), [])
})

await step('an event that cannot be is refused with a sentence, and the next one goes on', async () => {
  const event = { event_type: 'greeting', subject_id: state.ann, context: { name: 'Ann' } }
  const wrong = [
    [{ subject_id: randomUUID() }, 404, /there is no user/],
    [{ subject_id: null, audience: { user_ids: [state.ann, randomUUID()] } }, 404, /there is no user/],
    [{ channels: ['pigeon'] }, 400, /no channel pigeon/],
    [{ event_type: 'nobody.wrote.it' }, 404, /no active template/],
    [{ context: {} }, 400, /'name' is missing/],
    [{ context: { name: '\ud800' } }, 400, /./],
    [{ context: { name: '\0' } }, 400, /./],
    [{ context: { name: 'x'.repeat(70000) } }, 413, /more than 65536/],
    [{ context: { name: 'x'.repeat(10000000) } }, 413, /./],
    [{ scheduled_for: 'infinity' }, 400, /more than a year/],
    [{ expires_at: '2020-01-01' }, 400, /not after/]
  ]
  for (const [change, expected, message] of wrong) {
    const { error, status } = await service.rpc('issue_notification', { ...event, ...change })
    assert.equal(status, expected, JSON.stringify(error))
    assert.match(error.message, message)
  }
  const before = state.bell.length
  good(await service.rpc('issue_notification', event))
  await until(() => state.bell.length === before + 1, 'the next notification')
})

await step('a device goes to whoever registers it last', async () => {
  const device = { channel: 'push', provider: 'expo', address: `ExponentPushToken[${randomUUID()}]`, label: 'Pixel' }
  good(await ann.rpc('register_notification_channel', device))
  const id = good(await bob.rpc('register_notification_channel', device))
  assert.deepEqual(good(await ann.from('notification_channels').select()), [])
  const mine = good(await bob.from('notification_channels').select('id, label, is_enabled, verified'))
  assert.deepEqual(mine, [{ id, label: 'Pixel', is_enabled: true, verified: false }])
  const { error } = await bob.from('notification_channels').update({ verified: true }).eq('id', id)
  assert.equal(error.code, '42501')
  good(await bob.from('notification_channels').delete().eq('id', id))
})

await step('who is not signed in gets nothing, and nobody issues events from a browser', async () => {
  for (const table of ['notifications', 'notification_events', 'notification_queue', 'notification_templates']) {
    const { error } = await visitor.from(table).select()
    assert.equal(error.code, '42501', table)
  }
  for (const supabase of [visitor, ann]) {
    const { error } = await supabase.rpc('issue_notification', { event_type: 'greeting', subject_id: state.bob })
    assert.equal(error.code, '42501')
  }
  const { error } = await visitor.rpc('unread_notification_counts')
  assert.equal(error.code, '42501')
})

await Promise.all([ann, bob, visitor].map((supabase) => supabase.removeAllChannels()))
process.exit()
