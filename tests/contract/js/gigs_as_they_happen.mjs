// The gig-work app's screens stay up to date by themselves, through unmodified supabase-js: document 000, "Real-time Features".

import assert from 'node:assert/strict'
import { client, good, service, signIn, step } from './steps.mjs'

const visitor = client()
const employer = client()
const worker = client()
const today = new Date(Date.now() + 8 * 3600e3).toISOString().slice(0, 10) // in Singapore
const seen = { visitor: [], employer: [], bell: [] }
const state = {}

// Resolves once the channel's changes flow: clients wait for this before they write.
function subscribe (channel) {
  return new Promise((resolve, reject) => {
    channel
      .on('system', {}, (message) => {
        if (message.extension !== 'postgres_changes') return
        if (message.status === 'ok') resolve()
        else reject(new Error(message.message))
      })
      .subscribe((status, error) => { if (error) reject(error) })
  })
}

async function until (condition, what) {
  const deadline = Date.now() + 10000
  while (!condition()) {
    if (Date.now() > deadline) assert.fail(`not within ten seconds: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

function gig (title, more) {
  return {
    title,
    category: 'food_service',
    location: 'POINT(101.6869 3.1390)',
    hourly_rate: 12.5,
    start_date: today,
    end_date: today,
    ...more
  }
}

await step('an employer, a worker and a visitor subscribe', async () => {
  const session = await signIn(employer, '60121110301')
  good(await service.from('users').update({ role: 'employer' }).eq('id', session.user.id))
  state.workerId = (await signIn(worker, '60121110302')).user.id
  const gigs = { event: '*', schema: 'public', table: 'gigs' }
  await subscribe(visitor.channel('gigs-changes').on('postgres_changes', gigs, (change) => seen.visitor.push(change)))
  await subscribe(employer.channel('gigs-changes').on('postgres_changes', gigs, (change) => seen.employer.push(change)))
  await subscribe(worker.channel('bell').on('postgres_changes', {
    event: 'INSERT', schema: 'public', table: 'notifications', filter: `user_id=eq.${state.workerId}`
  }, (change) => seen.bell.push(change)))
})

await step('a draft is news for its employer alone, an open gig for everybody', async () => {
  const draft = good(await employer.from('gigs').insert(gig('Draft')).select('id').single())
  const open = good(await employer.from('gigs').insert(
    gig('Waiter', { status: 'open', published_at: new Date().toISOString() })).select('id').single())
  await until(() => seen.visitor.length && seen.employer.length === 2, 'the new gigs')
  assert.deepEqual(seen.employer.map((change) => change.new.id), [draft.id, open.id])
  assert.deepEqual(seen.visitor.map((change) => [change.eventType, change.new.id]), [['INSERT', open.id]])
  assert.equal(seen.visitor[0].new.hourly_rate, 12.5)
  state.draftId = draft.id
})

await step('a draft that is published is news for everybody', async () => {
  good(await employer.from('gigs').update({ status: 'open', published_at: new Date().toISOString() }).eq('id', state.draftId))
  await until(() => seen.visitor.length === 2, 'the published gig')
  assert.deepEqual([seen.visitor[1].eventType, seen.visitor[1].new.title], ['UPDATE', 'Draft'])
})

await step('what is under the bell comes to its owner alone', async () => {
  const stranger = (await signIn(client(), '60121110303')).user.id
  good(await service.from('notifications').insert([
    { user_id: stranger, title: 'Not for you' },
    { user_id: state.workerId, title: 'Good to have you' }
  ]))
  await until(() => seen.bell.length, 'the notification')
  assert.deepEqual(seen.bell.map((change) => change.new.title), ['Good to have you'])
})

await Promise.all([visitor, employer, worker].map((one) => one.removeAllChannels()))
process.exit(0)
