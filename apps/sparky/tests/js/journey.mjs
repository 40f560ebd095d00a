// A customer's first hour, through unmodified supabase-js: document 002, sections 3, 6, 7 and 8. Needs a Paymob to buy at, which
// `tests/test_journey.py` brings.

import assert from 'node:assert/strict'
import { client, codeFor, good, service, step, subscribe, until } from './_steps.mjs'

if (!process.env.PAYMOB_API_URL) {
  console.log('1..0 # SKIP no Paymob to buy at: run tests/test_journey.py')
  process.exit(0)
}

const customer = client()
const stranger = client()
const rival = client()
const address = `journey-${Date.now()}@example.com`
const seen = { balance: [], bell: [], tools: [], rival: [] }
const state = {}

const pixel = Uint8Array.from(atob(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC'
), (character) => character.charCodeAt(0))

const changes = (table, event, filter) => ({ schema: 'public', table, event, filter })

await step('a sign-up waits for the code of the mail', async () => {
  const { session } = good(await customer.auth.signUp({
    email: address, password: 'correct horse battery', options: { data: { display_name: 'Dina' } }
  }))
  assert.equal(session, null)
  const wrong = await customer.auth.verifyOtp({ email: address, token: '000000', type: 'signup' })
  assert.equal(wrong.error.code, 'otp_expired')
  const verified = good(await customer.auth.verifyOtp({ email: address, token: await codeFor(address), type: 'signup' }))
  state.userId = verified.user.id
})

await step('the profile begins with the free plan and ten credits', async () => {
  const profile = good(await customer.from('users').select('id, display_name, credits, plan_id').single())
  assert.deepEqual(profile, { id: state.userId, display_name: 'Dina', credits: 10, plan_id: 'free' })
})

await step('nobody gives themselves credits', async () => {
  const { error } = await customer.from('users').update({ credits: 1000 }).eq('id', state.userId)
  assert.equal(error.code, '42501')
  const log = await customer.from('credit_log').insert({ user_id: state.userId, credits: 5, reason: 'gift', source_id: 'me' })
  assert.equal(log.error.code, '42501')
  const refused = await customer.rpc('adjust_credits', { p_user_id: state.userId, p_credits: 5 })
  assert.ok(['42501', 'PGRST202'].includes(refused.error.code), refused.error.code)
})

await step('a photo goes into the own folder and nowhere else', async () => {
  const uploads = customer.storage.from('user_uploads')
  good(await uploads.upload(`${state.userId}/photo.png`, pixel, { contentType: 'image/png' }))
  const foreign = await uploads.upload('0a000000-0000-4000-8000-000000000000/photo.png', pixel, { contentType: 'image/png' })
  assert.equal(foreign.error.statusCode, '403')
  assert.equal(good(await uploads.list(state.userId)).length, 1)
})

await step('balance, bell and tools are listened to, and nothing of others', async () => {
  const credentials = { email: `rival-${address}`, password: 'correct horse battery' }
  good(await service.auth.admin.createUser({ ...credentials, email_confirm: true }))
  good(await rival.auth.signInWithPassword(credentials))
  const mine = customer.channel('mine')
    .on('postgres_changes', changes('users', 'UPDATE', `id=eq.${state.userId}`), (change) => seen.balance.push(change.new))
    .on('postgres_changes', changes('notifications', 'INSERT', `user_id=eq.${state.userId}`), (change) => seen.bell.push(change.new))
    .on('postgres_changes', changes('tools', '*'), (change) => seen.tools.push(change.new))
  const others = rival.channel('others')
    .on('postgres_changes', changes('users', '*'), (change) => seen.rival.push(change))
    .on('postgres_changes', changes('notifications', '*'), (change) => seen.rival.push(change))
  const visitors = stranger.channel('tools')
    .on('postgres_changes', changes('tools', '*'), (change) => seen.tools.push(change.new))
  await Promise.all([subscribe(mine), subscribe(others), subscribe(visitors)])
})

await step('a pack is bought on the page of Paymob, and the balance changes by itself', async () => {
  const packs = good(await stranger.from('credit_packs').select('id, credits, price_cents').eq('is_active', true).order('sort_order'))
  assert.equal(packs[0].id, 'small')
  const order = good(await customer.functions.invoke('create-payment', { body: { kind: 'pack', itemId: 'small' } }))
  assert.equal(order.amount_cents, packs[0].price_cents)
  const paid = await fetch(order.iframe_url, { method: 'POST', body: 'success' })
  assert.deepEqual(await paid.json(), { answers: [200] })
  await until(() => seen.balance.some((row) => row.credits === 10 + packs[0].credits), 'the new balance')
  await until(() => seen.bell.some((row) => row.kind === 'purchase'), 'the notification of the purchase')
  const [purchase] = good(await customer.from('credit_purchases').select('status, payments(outcome)').eq('id', order.purchase_id))
  assert.deepEqual(purchase, { status: 'paid', payments: [{ outcome: 'granted' }] })
})

await step('a plan is subscribed to and cancelled for its end', async () => {
  const order = good(await customer.functions.invoke('create-payment', { body: { kind: 'plan', itemId: 'plus' } }))
  await fetch(order.iframe_url, { method: 'POST', body: 'success' })
  await until(() => seen.balance.some((row) => row.plan_id === 'plus' && row.credits === 130), 'the plan and its credits')
  assert.equal(good(await customer.rpc('cancel_subscription')).cancel_at_period_end, true)
  const profile = good(await customer.from('users').select('plan_id, subscriptions(status, cancel_at_period_end)').single())
  assert.deepEqual(profile, { plan_id: 'plus', subscriptions: [{ status: 'active', cancel_at_period_end: true }] })
})

await step('a tool that is switched off is news for everybody', async () => {
  good(await service.from('tools').update({ is_enabled: false }).eq('id', 'upscale'))
  await until(() => seen.tools.filter((row) => row.id === 'upscale' && !row.is_enabled).length === 2, 'the switched-off tool')
  good(await service.from('tools').update({ is_enabled: true }).eq('id', 'upscale'))
})

await step('the bell is read, and nobody else has heard of it', async () => {
  good(await customer.from('notifications').update({ read_at: new Date().toISOString() }).is('read_at', null))
  const unread = good(await customer.from('notifications').select('id').is('read_at', null))
  assert.deepEqual(unread, [])
  assert.deepEqual(seen.rival, [])
  const log = good(await customer.from('credit_log').select('credits, reason').order('id'))
  assert.deepEqual(log.map((row) => row.reason), ['welcome', 'purchase', 'monthly_credits'])
  assert.equal(log.reduce((sum, row) => sum + row.credits, 0), 130)
})

await step('a lost password is replaced by a code', async () => {
  good(await customer.auth.resetPasswordForEmail(address))
  good(await customer.auth.verifyOtp({ email: address, token: await codeFor(address), type: 'recovery' }))
  good(await customer.auth.updateUser({ password: 'another horse battery' }))
  good(await stranger.auth.signInWithPassword({ email: address, password: 'another horse battery' }))
})

// Sockets that close keep Node alive for ten seconds.
process.exit()
