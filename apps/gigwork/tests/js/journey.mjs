// From the first phone code to the payout: a worker and an employer on the gig-work backend, through unmodified supabase-js.

import assert from 'node:assert/strict'
import { client, good, service, signIn, step } from './_steps.mjs'

const here = { lat: 3.1391, lng: 101.687 }
const state = {}
const worker = client()
const employer = client()

await step('both sign in with the code in the Inbox', async () => {
  state.workerId = (await signIn(worker, '60121220001')).user.id
  state.employerId = (await signIn(employer, '60121220002')).user.id
  good(await service.from('users').update({ role: 'employer' }).eq('id', state.employerId))
})

await step('a draft is published, and the worker hears of it as it happens', async () => {
  const day = new Date(Date.now() + 8 * 3600e3).toISOString().slice(0, 10)
  const draft = good(await employer.from('gigs').insert({
    title: 'Bartender', category: 'food_service', location: 'POINT(101.6869 3.1390)', hourly_rate: 12.5, start_date: day, end_date: day
  }).select('id').single())
  state.gigId = draft.id
  const heard = new Promise((resolve, reject) => {
    const waiting = setTimeout(() => reject(new Error('nothing was heard')), 20000)
    const channel = worker.channel('gigs-changes')
    channel.on('postgres_changes', { event: '*', schema: 'public', table: 'gigs' }, (change) => {
      const gig = /** @type {import('./database.js').Tables<'gigs'>} */ (change.new)
      if (gig.id !== state.gigId) return
      clearTimeout(waiting)
      resolve(gig.status)
    }).on('system', {}, async ({ status }) => {
      if (status === 'ok') good(await employer.rpc('publish_gig', { p_gig_id: state.gigId }))
    }).subscribe()
  })
  assert.equal(await heard, 'open')
  await worker.removeAllChannels()
})

await step('the worker finds it, applies, and is accepted', async () => {
  const gigs = good(await worker.rpc('search_gigs', { p_user_lat: here.lat, p_user_lng: here.lng, p_max_distance_km: 1, p_limit: 100 }))
  assert.ok(gigs.some((gig) => gig.id === state.gigId))
  const applied = good(await worker.functions.invoke('apply-to-gig', { body: { gigId: state.gigId } }))
  const applicants = good(await employer.rpc('list_applicants', { p_gig_id: state.gigId }))
  assert.deepEqual(applicants.map((row) => row.application_id), [applied.application_id])
  good(await employer.rpc('decide_application', { p_application_id: applied.application_id, p_decision: 'accepted' }))
})

await step('what was promised cannot be taken back', async () => {
  const { error, status } = await employer.from('gigs').update({ hourly_rate: 1 }).eq('id', state.gigId)
  assert.equal(status, 409)
  assert.match(error.message, /^GIG_HAS_WORKERS: /)
  assert.deepEqual(JSON.parse(error.details).fields, ['hourly_rate'])
})

await step('the worker clocks in and out', async () => {
  state.sheetId = good(await worker.functions.invoke('clock-in', { body: { gigId: state.gigId, ...here } })).timesheet_id
  good(await service.from('timesheets').update({ clock_in: new Date(Date.now() - 8.5 * 3600e3).toISOString() }).eq('id', state.sheetId))
  const closed = good(await worker.functions.invoke('clock-out', { body: { timesheetId: state.sheetId, ...here } }))
  assert.equal(closed.points_earned, 70)
  state.amount = closed.amount_earned
})

await step('the worker has a level, a streak and full attendance', async () => {
  const stats = good(await worker.rpc('get_user_stats'))
  assert.deepEqual(
    [stats.level, stats.streak_days, stats.shifts_kept, stats.shifts_missed, stats.attendance_rate], [2, 1, 1, 0, 100])
  assert.deepEqual(good(await worker.from('level_ups').select('level')), [{ level: 2 }])
})

await step('the employer approves and pays, once', async () => {
  assert.equal(good(await employer.rpc('approve_timesheet', { p_timesheet_id: state.sheetId })).status, 'approved')
  const days = { p_period_start: new Date(Date.now() - 3 * 86400e3).toISOString().slice(0, 10), p_period_end: new Date(Date.now() + 86400e3).toISOString().slice(0, 10) }
  const batches = good(await employer.rpc('create_payout_batch', days))
  assert.equal(batches.length, 1)
  assert.equal(batches[0].total_amount, state.amount)
  assert.deepEqual(good(await employer.rpc('create_payout_batch', days)), [])
  assert.deepEqual(good(await worker.from('payouts').select('amount, currency')), [{ amount: state.amount, currency: 'MYR' }])
  const history = good(await worker.from('timesheet_events').select('status').eq('timesheet_id', state.sheetId).order('id'))
  assert.deepEqual([history[0].status, history.at(-2).status, history.at(-1).status], ['open', 'approved', 'paid'])
})

await step('the worker stands in all four leaderboards', async () => {
  good(await service.functions.invoke('update-leaderboard'))
  for (const period of ['daily', 'weekly', 'monthly', 'all_time']) {
    const board = good(await worker.rpc('get_leaderboard', { p_period_type: period, p_limit: 1000 }))
    assert.ok(board.some((row) => row.user_id === state.workerId), period)
    assert.deepEqual(board.map((row) => row.position), board.map((_, index) => index + 1))
    const cached = good(await worker.functions.invoke(`leaderboard?period=${period}`, { method: 'GET' }))
    assert.equal(cached.standings[0].position, 1)
  }
  const week = good(await worker.from('weekly_leaderboard').select('points_earned').eq('user_id', state.workerId).single())
  assert.equal(week.points_earned, 10 + 70 + 25)
})

// Sockets that close keep Node alive for ten seconds.
process.exit()
