// The other sides of the gig-work backend, through unmodified supabase-js: seeded accounts, visitors, the employer's desk and
// the functions that only the service role may call.

import assert from 'node:assert/strict'
import { client, good, refusal, service, signIn, step } from './steps.mjs'

const PASSWORD = 'gigwork-demo'
const NOBODY = '00000000-0000-0000-0000-000000000000'
const state = {}

const visitor = client()
const worker = client()
const newcomer = client()
const employer = client()

await step('a seeded worker signs in by password and by phone code, to one account', async () => {
  const { user } = good(await worker.auth.signInWithPassword({ email: 'worker-1@gigwork.example', password: PASSWORD }))
  const byPhone = await signIn(client(), '60123450001')
  assert.equal(byPhone.user.id, user.id)
  const { error } = await client().auth.signInWithPassword({ email: 'worker-1@gigwork.example', password: 'wrong' })
  assert.equal(error.code, 'invalid_credentials')
  state.workerId = user.id
})

await step('a worker with a past has figures, awards and achievements', async () => {
  const stats = good(await worker.rpc('get_user_stats'))
  assert.ok(stats.gigs_completed > 0)
  assert.ok(stats.total_hours_worked > 0)
  const profile = good(await worker.from('users').select('total_points, level, points_log(points), user_achievements(achievements(code))').single())
  assert.equal(profile.points_log.reduce((sum, row) => sum + row.points, 0), profile.total_points)
  assert.equal(profile.total_points, stats.total_points)
  assert.ok(profile.user_achievements.some((row) => row.achievements.code === 'first_shift'))
})

await step('a visitor searches, and may do nothing else', async () => {
  const gigs = good(await visitor.rpc('search_gigs', { p_category: 'events', p_min_rate: 12 }).limit(20))
  assert.equal(gigs.length, 20)
  assert.ok(gigs.every((gig) => gig.category === 'events' && gig.hourly_rate >= 12 && gig.status === 'open'))
  const published = gigs.map((gig) => gig.published_at)
  assert.deepEqual(published, [...published].sort().reverse())
  state.gigId = gigs[0].id
  const rpc = await visitor.rpc('apply_to_gig', { p_gig_id: state.gigId })
  assert.equal(rpc.status, 401)
  assert.equal(rpc.error.code, '42501')
  const refused = await refusal(await visitor.functions.invoke('apply-to-gig', { body: { gigId: state.gigId } }))
  assert.deepEqual([refused.status, refused.code], [401, 'UNAUTHORIZED'])
})

await step('an error of a routine has its code, its status and its details over REST', async () => {
  const { error, status } = await worker.rpc('clock_in', { p_gig_id: NOBODY, p_lat: 3.139, p_lng: 101.6869 })
  assert.equal(status, 404)
  assert.equal(error.code, 'PT404')
  assert.match(error.message, /^GIG_NOT_FOUND: /)
  assert.deepEqual(JSON.parse(error.details), { gig_id: NOBODY })
  const nowhere = await worker.rpc('search_gigs', { p_user_lat: 91, p_user_lng: 0 })
  assert.equal(nowhere.status, 400)
  assert.match(nowhere.error.message, /^VALIDATION_ERROR: /)
})

await step('the employer sees who waits for an answer, and decides', async () => {
  const { user } = good(await employer.auth.signInWithPassword({ email: 'employer-1@gigwork.example', password: PASSWORD }))
  const gigs = good(await employer.from('gigs')
    .select('id, title, employer_id, gig_applications!inner(id, status)')
    .eq('gig_applications.status', 'pending').order('title'))
  assert.ok(gigs.length > 1)
  assert.ok(gigs.every((gig) => gig.employer_id === user.id))
  const applicants = good(await employer.rpc('list_applicants', { p_gig_id: gigs[0].id }))
  assert.ok(applicants[0].full_name)
  assert.deepEqual(good(await worker.rpc('list_applicants', { p_gig_id: gigs[0].id })), [])
  const decide = (decision) => employer.rpc('decide_application', { p_application_id: applicants[0].application_id, p_decision: decision })
  assert.equal(good(await decide('rejected')).status, 'rejected')
  assert.equal(good(await decide('rejected')).status, 'rejected')
  const changed = await decide('accepted')
  assert.equal(changed.status, 409)
  assert.match(changed.error.message, /^ALREADY_DECIDED: /)
})

await step('an employer drafts a gig, publishes it and closes it', async () => {
  const day = new Date(Date.now() + 86400e3).toISOString().slice(0, 10)
  const draft = good(await employer.from('gigs').insert({
    title: 'Night market crew', category: 'events', location: 'POINT(101.7 3.15)', hourly_rate: 14, start_date: day, end_date: day
  }).select().single())
  assert.equal(draft.status, 'draft')
  assert.deepEqual([draft.latitude, draft.longitude], [3.15, 101.7])
  const seen = async () => good(await visitor.from('gigs').select('id').eq('id', draft.id)).length
  assert.equal(await seen(), 0)
  good(await employer.from('gigs').update({ status: 'open', published_at: new Date().toISOString() }).eq('id', draft.id))
  assert.equal(await seen(), 1)
  assert.deepEqual(good(await worker.from('gigs').update({ hourly_rate: 99 }).eq('id', draft.id).select('id')), [])
  good(await employer.from('gigs').update({ status: 'closed' }).eq('id', draft.id))
  assert.equal(await seen(), 0)
  const { error } = await employer.from('gigs').update({ filled_count: 0 }).eq('id', draft.id)
  assert.equal(error.code, '42501')
})

await step('a newcomer applies and withdraws', async () => {
  good(await newcomer.auth.signInWithPassword({ email: 'new-worker@gigwork.example', password: PASSWORD }))
  const applied = good(await newcomer.rpc('apply_to_gig', { p_gig_id: state.gigId, p_cover_message: 'First time' }))
  assert.equal(applied.points_earned, 10)
  assert.equal(good(await newcomer.rpc('withdraw_application', { p_application_id: applied.application_id })).status, 'withdrawn')
  const again = await newcomer.from('gig_applications').insert({ gig_id: state.gigId })
  assert.equal(again.status, 409)
  assert.match(again.error.message, /^ALREADY_APPLIED: /)
})

await step('the service awards points, once per source', async () => {
  const award = () => service.functions.invoke('award-points', {
    body: { userId: state.workerId, points: 15, reason: 'referral', sourceId: state.gigId }
  })
  const first = good(await award())
  assert.deepEqual(good(await award()), first)
  assert.equal(good(await worker.from('users').select('total_points').single()).total_points, first.total_points)
  const unknown = await refusal(await service.functions.invoke('award-points', { body: { userId: NOBODY, points: 1, reason: 'referral' } }))
  assert.deepEqual([unknown.status, unknown.code], [404, 'USER_NOT_FOUND'])
  const wrong = await refusal(await service.functions.invoke('award-points', { body: { userId: 'me', points: '15', reason: 'Because!' } }))
  assert.deepEqual(wrong.details.map((problem) => problem.path).sort(), ['points', 'reason', 'userId'])
})

await step('achievements are checked for oneself, and for anybody by the service', async () => {
  assert.deepEqual(good(await worker.functions.invoke('check-achievements', { body: {} })), { success: true, new_achievements: [] })
  assert.deepEqual(good(await worker.functions.invoke('check-achievements')).new_achievements, [])
  const others = await refusal(await newcomer.functions.invoke('check-achievements', { body: { userId: state.workerId } }))
  assert.deepEqual([others.status, others.code], [403, 'FORBIDDEN'])
  good(await service.functions.invoke('check-achievements', { body: { userId: state.workerId } }))
})

await step('an unlocked achievement pays its bonus through the function', async () => {
  good(await service.from('achievements').insert({
    code: 'generous', name: 'Generous', criteria_type: 'gigs_completed', criteria_value: 1, points_reward: 7
  }))
  const before = good(await worker.from('users').select('total_points').single()).total_points
  const { new_achievements: unlocked } = good(await worker.functions.invoke('check-achievements', { body: {} }))
  assert.deepEqual(unlocked.map((achievement) => achievement.code), ['generous'])
  assert.equal(good(await worker.from('users').select('total_points').single()).total_points, before + 7)
})

await step('the leaderboards are refreshed by the service and read by the signed-in', async () => {
  const { periods } = good(await service.functions.invoke('update-leaderboard'))
  assert.deepEqual(periods.map((period) => period.period_type), ['daily', 'weekly', 'monthly', 'all_time'])
  const refused = await refusal(await worker.functions.invoke('update-leaderboard'))
  assert.deepEqual([refused.status, refused.code], [403, 'FORBIDDEN'])
  const week = good(await worker.from('weekly_leaderboard').select('rank, user_id, points_earned, display_name').order('rank'))
  assert.ok(week.some((row) => row.user_id === state.workerId && row.points_earned > 0))
  const board = good(await worker.from('leaderboard').select('rank, points_earned').eq('period_type', 'all_time').order('rank'))
  const points = board.map((row) => row.points_earned)
  assert.deepEqual(points, [...points].sort((a, b) => b - a))
  assert.equal((await visitor.from('leaderboard').select('*')).status, 401)
  const unknown = await refusal(await service.functions.invoke('update-leaderboard', { body: { periodType: 'yearly' } }))
  assert.deepEqual(unknown.details.map((problem) => problem.path), ['periodType'])
})

await step('a message is an event for its user, and what is under the bell is read by them only', async () => {
  const body = { userId: state.workerId, kind: 'welcome', title: 'Hello', body: 'Good to have you', data: { page: 'gigs' } }
  const sent = good(await service.functions.invoke('send-notification', { body }))
  const event = good(await worker.from('notification_events').select('event_type, channels, context').eq('id', sent.event_id).single())
  assert.deepEqual([event.event_type, event.channels], ['message', ['in_app', 'push']])
  assert.deepEqual(event.context.data, { page: 'gigs', kind: 'welcome' })
  assert.deepEqual(good(await newcomer.from('notification_events').select('id').eq('id', sent.event_id)), [])
  const told = good(await service.from('notifications').insert({ user_id: state.workerId, title: 'Hello' }).select('id').single())
  good(await worker.rpc('mark_notifications_read', { ids: [told.id] }))
  const mine = good(await worker.from('notifications').select('title, read_at').eq('id', told.id).single())
  assert.deepEqual([mine.title, mine.read_at !== null], ['Hello', true])
  assert.deepEqual(good(await newcomer.from('notifications').select('id').eq('id', told.id)), [])
  const refused = await refusal(await worker.functions.invoke('send-notification', { body }))
  assert.equal(refused.status, 403)
  const unknown = await refusal(await service.functions.invoke('send-notification', { body: { ...body, userId: crypto.randomUUID() } }))
  assert.deepEqual([unknown.status, unknown.code], [404, 'USER_NOT_FOUND'])
})

await step('a device changes hands with its user', async () => {
  good(await worker.rpc('register_device', { p_token: 'device-1', p_platform: 'android' }))
  good(await newcomer.rpc('register_device', { p_token: 'device-1', p_platform: 'android' }))
  assert.equal(good(await worker.from('notification_channels').select('id')).length, 0)
  const [device] = good(await newcomer.from('notification_channels').select('channel, provider, address, label'))
  assert.deepEqual(device, { channel: 'push', provider: 'fcm', address: 'device-1', label: 'android' })
})

await step('a worker wishes for gigs, and wishes again', async () => {
  const wish = { user_id: state.workerId, location: 'POINT(101.6869 3.139)', radius_m: 5000, categories: ['retail'] }
  good(await worker.from('gig_alerts').upsert(wish))
  good(await worker.from('gig_alerts').upsert({ ...wish, radius_m: 8000 }))
  assert.deepEqual(good(await worker.from('gig_alerts').select('radius_m, categories').single()), { radius_m: 8000, categories: ['retail'] })
  assert.deepEqual(good(await newcomer.from('gig_alerts').select('user_id')), [])
})

await step('functions refuse other methods and bodies that are not JSON', async () => {
  const get = await refusal(await worker.functions.invoke('clock-in', { method: 'GET' }))
  assert.deepEqual([get.status, get.code], [405, 'METHOD_NOT_ALLOWED'])
  for (const body of ['{"gigId"', '[]', 'null', '{"gigId": 1, "lat": "3", "lng": true}']) {
    const refused = await refusal(await worker.functions.invoke('clock-in', { body, headers: { 'content-type': 'application/json' } }))
    assert.equal(refused.status, 400, body)
  }
})
