// Sign-up, sign-in by every kind of code and password, and what users change of themselves.

import assert from 'node:assert/strict'
import { admin, codeFor, follow, good, member, password, refused, sent, signedUp, step } from './members.mjs'

await step('a sign-up waits for its confirmation, whose code signs in', async () => {
  const supabase = member()
  const { user, session } = good(await supabase.auth.signUp({ email: 'ada@example.com', password, options: { data: { name: 'Ada' } } }))
  assert.equal(session, null)
  assert.equal(user.identities.length, 1)
  refused(await supabase.auth.signInWithPassword({ email: 'ada@example.com', password }), 'AuthApiError', 400, 'email_not_confirmed')
  const verified = good(await supabase.auth.verifyOtp({ type: 'email', email: 'ada@example.com', token: await codeFor('ada@example.com') }))
  assert.equal(verified.user.user_metadata.name, 'Ada')
  assert.equal(verified.session.user.id, user.id)
})

await step('an address that is taken answers like a new one', async () => {
  const { user } = good(await member().auth.signUp({ email: 'ada@example.com', password: 'something else' }))
  assert.deepEqual([user.identities, user.role], [[], ''])
})

await step('a password signs in, a wrong one does not', async () => {
  const supabase = member()
  const { session } = good(await supabase.auth.signInWithPassword({ email: 'Ada@Example.com', password }))
  assert.equal(session.token_type, 'bearer')
  refused(await member().auth.signInWithPassword({ email: 'ada@example.com', password: 'wrong' }), 'AuthApiError', 400, 'invalid_credentials')
  refused(await member().auth.signInWithPassword({ email: 'nobody@example.com', password }), 'AuthApiError', 400, 'invalid_credentials')
})

await step('a weak password is refused with its reasons', async () => {
  const { error } = await member().auth.signUp({ email: 'weak@example.com', password: 'abc' })
  assert.equal(error.name, 'AuthWeakPasswordError')
  assert.deepEqual(error.reasons, ['length'])
})

await step('a mailed code and a mailed link sign in', async () => {
  const supabase = member()
  good(await supabase.auth.signInWithOtp({ email: 'otto@example.com', options: { emailRedirectTo: 'https://app.example.com/in' } }))
  const link = await follow('otto@example.com')
  assert.equal(link.origin + link.pathname, 'https://app.example.com/in')
  const fragment = new URLSearchParams(link.hash.slice(1))
  good(await supabase.auth.setSession({ access_token: fragment.get('access_token'), refresh_token: fragment.get('refresh_token') }))
  assert.equal(good(await supabase.auth.getUser()).user.email, 'otto@example.com')
  good(await supabase.auth.signInWithOtp({ email: 'otto@example.com' }))
  const { session } = good(await supabase.auth.verifyOtp({ type: 'email', email: 'otto@example.com', token: await codeFor('otto@example.com') }))
  assert.ok(session.access_token)
  refused(await supabase.auth.verifyOtp({ type: 'email', email: 'otto@example.com', token: '000000' }), 'AuthApiError', 403, 'otp_expired')
  refused(await member().auth.signInWithOtp({ email: 'new@example.com', options: { shouldCreateUser: false } }), 'AuthApiError', 422, 'otp_disabled')
})

await step('a token hash out of a mail of the project\'s own signs in', async () => {
  good(await member().auth.signInWithOtp({ email: 'otto@example.com' }))
  const { session } = good(await member().auth.verifyOtp({ type: 'email', token_hash: (await sent('otto@example.com')).data.token_hash }))
  assert.equal(session.user.email, 'otto@example.com')
})

await step('a phone signs up by text message and by WhatsApp', async () => {
  for (const [phone, channel] of [['60123456789', 'sms'], ['60123456780', 'whatsapp']]) {
    const supabase = member()
    good(await supabase.auth.signInWithOtp({ phone: `+${phone}`, options: { channel } }))
    assert.equal((await sent(phone)).channel, channel)
    const { user } = good(await supabase.auth.verifyOtp({ type: 'sms', phone: `+${phone}`, token: await codeFor(phone) }))
    assert.equal(user.phone, phone)
  }
  good(await member().auth.signInWithOtp({ phone: '15555550100' }))
  assert.ok(good(await member().auth.verifyOtp({ type: 'sms', phone: '15555550100', token: '424242' })).session)
})

await step('a phone and a password', async () => {
  const phone = '60111111111'
  assert.equal(good(await member().auth.signUp({ phone, password })).session, null)
  refused(await member().auth.signInWithPassword({ phone, password }), 'AuthApiError', 400, 'phone_not_confirmed')
  good(await member().auth.verifyOtp({ type: 'sms', phone, token: await codeFor(phone) }))
  assert.ok(good(await member().auth.signInWithPassword({ phone, password })).session)
})

await step('messages are sent again', async () => {
  good(await member().auth.signUp({ email: 'twice@example.com', password }))
  const first = await codeFor('twice@example.com')
  good(await member().auth.resend({ type: 'signup', email: 'twice@example.com' }))
  const second = await codeFor('twice@example.com')
  refused(await member().auth.verifyOtp({ type: 'signup', email: 'twice@example.com', token: first }), 'AuthApiError', 403, 'otp_expired')
  good(await member().auth.verifyOtp({ type: 'signup', email: 'twice@example.com', token: second }))
  good(await member().auth.signUp({ phone: '60122222222', password }))
  good(await member().auth.resend({ type: 'sms', phone: '60122222222' }))
  good(await member().auth.resend({ type: 'signup', email: 'unknown@example.com' }))
})

await step('a forgotten password is replaced', async () => {
  const supabase = member()
  good(await supabase.auth.resetPasswordForEmail('ada@example.com', { redirectTo: 'https://app.example.com/new' }))
  const { session } = good(await supabase.auth.verifyOtp({ type: 'recovery', email: 'ada@example.com', token: await codeFor('ada@example.com') }))
  assert.equal(session.user.email, 'ada@example.com')
  good(await supabase.auth.updateUser({ password: 'a better password' }))
  refused(await supabase.auth.updateUser({ password: 'a better password' }), 'AuthApiError', 422, 'same_password')
  good(await member().auth.signInWithPassword({ email: 'ada@example.com', password: 'a better password' }))
  good(await member().auth.resetPasswordForEmail('unknown@example.com'))
})

await step('metadata, address and number change', async () => {
  const { supabase } = await signedUp('moves@example.com')
  assert.equal(good(await supabase.auth.updateUser({ data: { city: 'Penang' } })).user.user_metadata.city, 'Penang')
  assert.equal(good(await supabase.auth.updateUser({ email: 'moved@example.com' })).user.new_email, 'moved@example.com')
  const before = good(await supabase.auth.verifyOtp({ type: 'email_change', email: 'moves@example.com', token: await codeFor('moves@example.com') }))
  assert.equal(before.session, null)
  const after = good(await supabase.auth.verifyOtp({ type: 'email_change', email: 'moved@example.com', token: await codeFor('moved@example.com') }))
  assert.equal(after.user.email, 'moved@example.com')
  good(await supabase.auth.updateUser({ phone: '60133333333' }))
  const { user } = good(await supabase.auth.verifyOtp({ type: 'phone_change', phone: '60133333333', token: await codeFor('60133333333') }))
  assert.equal(user.phone, '60133333333')
  good(await member().auth.signUp({ email: 'taken@example.com', password }))
  refused(await supabase.auth.updateUser({ email: 'taken@example.com' }), 'AuthApiError', 422, 'email_exists')
})

await step('a nonce is sent for a change that needs one', async () => {
  const { supabase } = await signedUp('careful@example.com')
  good(await supabase.auth.reauthenticate())
  const nonce = await codeFor('careful@example.com')
  good(await supabase.auth.updateUser({ password: 'another password', nonce }))
})

await step('an anonymous user becomes a permanent one', async () => {
  const supabase = member()
  const { user } = good(await supabase.auth.signInAnonymously({ options: { data: { cart: [1] } } }))
  assert.equal(user.is_anonymous, true)
  refused(await supabase.auth.updateUser({ password }), 'AuthApiError', 422, 'validation_failed')
  good(await supabase.auth.updateUser({ email: 'stays@example.com' }))
  const upgraded = good(await supabase.auth.verifyOtp({ type: 'email_change', email: 'stays@example.com', token: await codeFor('stays@example.com') }))
  assert.deepEqual([upgraded.user.id, upgraded.user.is_anonymous, upgraded.user.user_metadata.cart], [user.id, false, [1]])
  good(await supabase.auth.updateUser({ password }))
  good(await member().auth.signInWithPassword({ email: 'stays@example.com', password }))
})

await step('administrators keep the users', async () => {
  const { user } = good(await admin.createUser({ email: 'made@example.com', password, email_confirm: true, user_metadata: { a: 1 }, app_metadata: { plan: 'pro' } }))
  assert.equal(good(await admin.getUserById(user.id)).user.app_metadata.plan, 'pro')
  const page = good(await admin.listUsers({ page: 1, perPage: 2 }))
  assert.deepEqual([page.users.length, page.nextPage], [2, 2])
  assert.ok(page.total > 5)
  assert.equal(good(await admin.updateUserById(user.id, { user_metadata: { b: 2 } })).user.user_metadata.b, 2)
  const { supabase, session } = await signedUp('banned@example.com')
  good(await admin.updateUserById(session.user.id, { ban_duration: '24h' }))
  const { error } = await supabase.auth.refreshSession()
  assert.ok(error)
  good(await admin.updateUserById(session.user.id, { ban_duration: 'none' }))
  good(await member().auth.signInWithPassword({ email: 'banned@example.com', password }))
  good(await admin.deleteUser(user.id, true))
  assert.equal(good(await admin.getUserById(user.id)).user.user_metadata.a, undefined)
  good(await admin.deleteUser(user.id))
  refused(await admin.getUserById(user.id), 'AuthApiError', 404, 'user_not_found')
  refused(await member().auth.admin.listUsers(), 'AuthApiError', 403, 'not_admin')
})

await step('people are invited, links are made', async () => {
  const { user } = good(await admin.inviteUserByEmail('guest@example.com', { data: { team: 'blue' }, redirectTo: 'https://app.example.com/hi' }))
  assert.deepEqual(user.user_metadata, { team: 'blue' })
  const link = await follow('guest@example.com')
  assert.equal(new URLSearchParams(link.hash.slice(1)).get('type'), 'invite')
  for (const type of ['signup', 'invite', 'magiclink', 'recovery', 'email_change_current', 'email_change_new']) {
    const email = type === 'signup' || type === 'invite' ? `${type}@example.com` : 'guest@example.com'
    const made = good(await admin.generateLink({ type, email, password, newEmail: 'elsewhere@example.com', options: { redirectTo: 'https://app.example.com/x' } }))
    assert.equal(made.properties.redirect_to, 'https://app.example.com/x')
    assert.equal(made.properties.verification_type, type)
    assert.ok(new URL(made.properties.action_link).searchParams.get('token'))
  }
})
