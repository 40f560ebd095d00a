// A worker's and an employer's day on the gig-work backend, through unmodified supabase-js.

import assert from 'node:assert/strict'
import { client, good, refusal, service, signIn, step } from './steps.mjs'

const state = {}
const worker = client()
const employer = client()
const stranger = client()

await step('a worker signs up with a phone code', async () => {
  const session = await signIn(worker, '60121110001')
  assert.equal(session.user.phone, '60121110001')
  assert.equal(session.expires_in, 3600)
  state.workerId = session.user.id
})

await step('a wrong phone code is refused', async () => {
  good(await stranger.auth.signInWithOtp({ phone: '+60121110009' }))
  const { error } = await stranger.auth.verifyOtp({ phone: '+60121110009', token: '000000', type: 'sms' })
  assert.equal(error.status, 403)
  assert.equal(error.code, 'otp_expired')
})

await step('the profile was made by the sign-up', async () => {
  const profile = good(await worker.from('users').select('id, total_points').single())
  assert.deepEqual(profile, { id: state.workerId, total_points: 0 })
})

await step('a worker cannot give themselves points', async () => {
  const { error } = await worker.from('users').update({ total_points: 1000000 }).eq('id', state.workerId)
  assert.equal(error.code, '42501')
})

await step('an employer signs up and posts a gig', async () => {
  const session = await signIn(employer, '60121110002')
  good(await service.from('users').update({ role: 'employer' }).eq('id', session.user.id))
  const today = new Date(Date.now() + 8 * 3600e3).toISOString().slice(0, 10) // in Singapore
  const gig = good(await employer.from('gigs').insert({
    title: 'Waiter at the night market',
    category: 'food_service',
    location: 'POINT(101.7169 3.1390)',
    hourly_rate: 12.5,
    start_date: today,
    end_date: today,
    capacity: 2,
    status: 'open',
    published_at: new Date().toISOString()
  }).select('id, hourly_rate, employer_id').single())
  assert.equal(gig.employer_id, session.user.id)
  state.gigId = gig.id
})

await step('anyone finds gigs nearby, nearest first', async () => {
  const gigs = good(await worker.rpc('search_gigs', { p_user_lat: 3.139, p_user_lng: 101.7169, p_max_distance_km: 1 }))
  assert.ok(gigs.length > 0)
  assert.equal(gigs[0].id, state.gigId)
  const none = good(await worker.rpc('search_gigs', { p_user_lat: 0, p_user_lng: 0, p_max_distance_km: 1 }))
  assert.deepEqual(none, [])
})

await step('gigs can be read with filters, order, range and count', async () => {
  const { data, error, count, status } = await client().from('gigs')
    .select('id, title, hourly_rate', { count: 'exact' })
    .gte('hourly_rate', 15).eq('status', 'open').order('hourly_rate', { ascending: false }).range(0, 9)
  assert.equal(error, null)
  assert.equal(data.length, 10)
  assert.equal(status, 206)
  assert.ok(count > 100)
  assert.ok(data.every((gig) => gig.hourly_rate >= 15))
})

await step('a worker applies through the function', async () => {
  const answer = good(await worker.functions.invoke('apply-to-gig', { body: { gigId: state.gigId, coverMessage: 'I am near' } }))
  assert.equal(answer.points_earned, 10)
  state.applicationId = answer.application_id
})

await step('a second application is refused by the function and by RPC', async () => {
  const again = await refusal(await worker.functions.invoke('apply-to-gig', { body: { gigId: state.gigId } }))
  assert.equal(again.status, 409)
  assert.equal(again.code, 'ALREADY_APPLIED')
  assert.ok(again.requestId)
  const { error, status } = await worker.rpc('apply_to_gig', { p_gig_id: state.gigId })
  assert.equal(status, 409)
  assert.match(error.message, /ALREADY_APPLIED/)
})

await step('a function names every wrong field', async () => {
  const wrong = await refusal(await worker.functions.invoke('clock-in', { body: { gigId: 'x', lat: 91 } }))
  assert.equal(wrong.status, 400)
  assert.equal(wrong.code, 'VALIDATION_ERROR')
  assert.deepEqual(wrong.details.map((problem) => problem.path).sort(), ['gigId', 'lat', 'lng'])
})

await step('clock-in needs an accepted application', async () => {
  const refused = await refusal(await worker.functions.invoke('clock-in', { body: { gigId: state.gigId, lat: 3.139, lng: 101.7169 } }))
  assert.equal(refused.code, 'NOT_ACCEPTED')
})

await step('the employer sees the application and accepts it', async () => {
  const gig = good(await employer.from('gigs').select('title, gig_applications(id, status)').eq('id', state.gigId).single())
  assert.deepEqual(gig.gig_applications, [{ id: state.applicationId, status: 'pending' }])
  good(await employer.rpc('decide_application', { p_application_id: state.applicationId, p_decision: 'accepted' }))
})

await step('clock-in too far away is refused with the distance', async () => {
  const refused = await refusal(await worker.functions.invoke('clock-in', { body: { gigId: state.gigId, lat: 3.15, lng: 101.7169 } }))
  assert.equal(refused.status, 400)
  assert.equal(refused.code, 'INVALID_LOCATION')
  assert.ok(refused.details.distance_m > 1000)
})

await step('clock-in at the gig opens a timesheet, once', async () => {
  const opened = good(await worker.functions.invoke('clock-in', { body: { gigId: state.gigId, lat: 3.1391, lng: 101.717 } }))
  state.timesheetId = opened.timesheet_id
  const again = await refusal(await worker.functions.invoke('clock-in', { body: { gigId: state.gigId, lat: 3.1391, lng: 101.717 } }))
  assert.equal(again.code, 'ALREADY_CLOCKED_IN')
})

await step('clock-out far away is refused', async () => {
  const refused = await refusal(await worker.functions.invoke('clock-out', { body: { timesheetId: state.timesheetId, lat: 1.3, lng: 103.8 } }))
  assert.equal(refused.code, 'INVALID_LOCATION')
})

await step('clock-out after nine hours pays, awards and unlocks', async () => {
  const nineHoursAgo = new Date(Date.now() - 9 * 3600 * 1000).toISOString()
  good(await service.from('timesheets').update({ clock_in: nineHoursAgo }).eq('id', state.timesheetId))
  const body = { timesheetId: state.timesheetId, lat: 3.139, lng: 101.7169 }
  const closed = good(await worker.functions.invoke('clock-out', { body }))
  assert.equal(closed.success, true)
  assert.ok(closed.hours_worked >= 9 && closed.hours_worked < 9.1)
  assert.ok(Math.abs(closed.amount_earned - 112.5) < 0.5)
  assert.equal(closed.points_earned, 70)
  assert.ok(closed.new_achievements.length > 0)
  state.closed = closed
})

await step('a repeated clock-out changes nothing', async () => {
  const before = good(await worker.from('users').select('total_points').single())
  const again = good(await worker.functions.invoke('clock-out', { body: { timesheetId: state.timesheetId, lat: 3.139, lng: 101.7169 } }))
  assert.equal(again.points_earned, state.closed.points_earned)
  assert.deepEqual(good(await worker.from('users').select('total_points').single()), before)
})

await step('the sum of the points log is the balance', async () => {
  const log = good(await worker.from('points_log').select('points'))
  const { total_points: balance } = good(await worker.from('users').select('total_points').single())
  assert.equal(log.reduce((sum, row) => sum + row.points, 0), balance)
  assert.ok(balance >= 80)
})

await step('unlocked achievements can be read with their names', async () => {
  const mine = good(await worker.from('user_achievements').select('unlocked_at, achievements!inner(name, criteria_type)'))
  assert.equal(mine.length, state.closed.new_achievements.length)
  assert.ok(mine.every((row) => row.achievements.name))
})

await step('nobody sees anything of anybody else', async () => {
  await signIn(stranger, '60121110003')
  for (const table of ['gig_applications', 'timesheets', 'points_log', 'user_achievements', 'notifications', 'notification_channels', 'gig_alerts']) {
    assert.deepEqual(good(await stranger.from(table).select('*')), [], table)
  }
  const users = good(await stranger.from('users').select('id'))
  assert.equal(users.length, 1)
  assert.notEqual(users[0].id, state.workerId)
  const refused = await refusal(await stranger.functions.invoke('clock-out', { body: { timesheetId: state.timesheetId, lat: 3.139, lng: 101.7169 } }))
  assert.equal(refused.status, 404)
})

await step('functions of the service refuse a worker', async () => {
  const refused = await refusal(await worker.functions.invoke('award-points', { body: { userId: state.workerId, points: 1000, reason: 'greed' } }))
  assert.equal(refused.status, 403)
})

await step('a session is refreshed, and the old token is used up', async () => {
  const old = (await worker.auth.getSession()).data.session.refresh_token
  const { session } = good(await worker.auth.refreshSession())
  assert.notEqual(session.refresh_token, old)
  assert.equal(good(await worker.auth.getUser()).user.id, state.workerId)
})

await step('after signing out the session is gone', async () => {
  const token = (await worker.auth.getSession()).data.session.access_token
  assert.equal((await worker.auth.signOut()).error, null)
  const { error } = await client().auth.getUser(token)
  assert.equal(error.name, 'AuthSessionMissingError')
  const refused = await worker.functions.invoke('clock-in', { body: { gigId: state.gigId, lat: 3.139, lng: 101.7169 } })
  assert.ok(refused.error)
})
