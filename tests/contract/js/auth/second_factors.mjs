// Second factors and passkeys through unmodified supabase-js: every method of auth.mfa, auth.passkey and their administration.

import assert from 'node:assert/strict'
import { client, good, service, step } from '../steps.mjs'
import { SecurityKey, totp } from './authenticator.mjs'

const password = 'correct horse battery'
const email = 'factors@example.com'
const user = client()
const state = {}

function refused ({ data, error }, status, code) {
  assert.equal(error?.name, 'AuthApiError', JSON.stringify(data))
  assert.equal(error.status, status)
  assert.equal(error.code, code)
}

async function levels (supabase) {
  const { currentLevel, nextLevel } = good(await supabase.auth.mfa.getAuthenticatorAssuranceLevel())
  return [currentLevel, nextLevel]
}

async function signedIn () {
  const supabase = client()
  good(await supabase.auth.signInWithPassword({ email, password }))
  return supabase
}

// supabase-js 2 has the challenge's options parsed for the browser; the software key reads the JSON.
const b64 = (buffer) => Buffer.from(buffer).toString('base64url')
const unparsed = (options) => ({
  ...options,
  challenge: b64(options.challenge),
  ...(options.user && { user: { ...options.user, id: b64(options.user.id) } })
})
const credential = (json) => ({ ...json, toJSON: () => json })

await step('a user signs up at aal1', async () => {
  state.user = good(await user.auth.signUp({ email, password })).user
  assert.deepEqual(await levels(user), ['aal1', 'aal1'])
})

await step('an authenticator app is enrolled', async () => {
  const factor = good(await user.auth.mfa.enroll({ factorType: 'totp', friendlyName: 'app', issuer: 'Factors' }))
  assert.equal(factor.type, 'totp')
  assert.equal(factor.friendly_name, 'app')
  assert.ok(factor.totp.qr_code.startsWith('data:image/svg+xml;utf-8,<svg'))
  assert.equal(new URL(factor.totp.uri).searchParams.get('secret'), factor.totp.secret)
  state.app = factor
  const { all, totp: verified } = good(await user.auth.mfa.listFactors())
  assert.deepEqual([all.length, verified.length], [1, 0])
})

await step('a wrong code is refused', async () => {
  const challenge = good(await user.auth.mfa.challenge({ factorId: state.app.id }))
  assert.ok(challenge.expires_at > Date.now() / 1000)
  const code = totp(state.app.totp.secret, 5)
  refused(await user.auth.mfa.verify({ factorId: state.app.id, challengeId: challenge.id, code }), 422, 'mfa_verification_failed')
  assert.deepEqual(await levels(user), ['aal1', 'aal1'])
})

await step('the right code raises the session to aal2', async () => {
  const challenge = good(await user.auth.mfa.challenge({ factorId: state.app.id }))
  const events = []
  const { data: { subscription } } = user.auth.onAuthStateChange((event) => events.push(event))
  const code = totp(state.app.totp.secret)
  const session = good(await user.auth.mfa.verify({ factorId: state.app.id, challengeId: challenge.id, code }))
  assert.equal(session.user.factors[0].status, 'verified')
  assert.deepEqual(await levels(user), ['aal2', 'aal2'])
  assert.ok(events.includes('MFA_CHALLENGE_VERIFIED'))
  subscription.unsubscribe()
  const { currentAuthenticationMethods } = good(await user.auth.mfa.getAuthenticatorAssuranceLevel())
  assert.deepEqual(currentAuthenticationMethods.map(({ method }) => method), ['totp', 'password'])
})

await step('a refreshed session is still at aal2', async () => {
  good(await user.auth.refreshSession())
  assert.deepEqual(await levels(user), ['aal2', 'aal2'])
})

await step('a new sign-in is asked for the factor, and a code counts once', async () => {
  const other = await signedIn()
  assert.deepEqual(await levels(other), ['aal1', 'aal2'])
  const factorId = state.app.id
  refused(await other.auth.mfa.challengeAndVerify({ factorId, code: totp(state.app.totp.secret) }), 422, 'mfa_verification_failed')
  good(await other.auth.mfa.challengeAndVerify({ factorId, code: totp(state.app.totp.secret, 1) }))
  assert.deepEqual(await levels(other), ['aal2', 'aal2'])
})

await step('at aal1 no factor is added or taken away', async () => {
  const other = await signedIn()
  refused(await other.auth.mfa.enroll({ factorType: 'totp', friendlyName: 'more' }), 403, 'insufficient_aal')
  refused(await other.auth.mfa.unenroll({ factorId: state.app.id }), 422, 'insufficient_aal')
})

await step('a name is taken once', async () => {
  refused(await user.auth.mfa.enroll({ factorType: 'totp', friendlyName: 'app' }), 422, 'mfa_factor_name_conflict')
})

await step('a telephone is a factor', async () => {
  const factor = good(await user.auth.mfa.enroll({ factorType: 'phone', friendlyName: 'number', phone: '+60121119999' }))
  assert.equal(factor.phone, '+60121119999')
  const challenge = good(await user.auth.mfa.challenge({ factorId: factor.id, channel: 'sms' }))
  const answer = await fetch(`${process.env.BASALT_URL}/studio/inbox.json?to=60121119999&limit=1`, {
    headers: { apikey: process.env.BASALT_SECRET_KEY }
  })
  const { messages } = await answer.json()
  good(await user.auth.mfa.verify({ factorId: factor.id, challengeId: challenge.id, code: messages[0].data.token }))
  const { phone } = good(await user.auth.mfa.listFactors())
  assert.equal(phone[0].phone, '60121119999')
})

await step('a security key is a factor', async () => {
  const factor = good(await user.auth.mfa.webauthn.enroll({ friendlyName: 'key' }))
  const webauthn = { rpId: 'localhost', rpOrigins: ['http://localhost:3000'] }
  const made = good(await user.auth.mfa.challenge({ factorId: factor.id, webauthn }))
  assert.equal(made.webauthn.type, 'create')
  state.key = new SecurityKey()
  const created = credential(state.key.create(unparsed(made.webauthn.credential_options.publicKey)))
  good(await user.auth.mfa.webauthn.verify({
    factorId: factor.id, challengeId: made.id, webauthn: { type: 'create', ...webauthn, credential_response: created }
  }))
  assert.equal(good(await user.auth.mfa.listFactors()).webauthn.length, 1)

  const other = await signedIn()
  const asked = good(await other.auth.mfa.challenge({ factorId: factor.id, webauthn }))
  assert.equal(asked.webauthn.type, 'request')
  const used = credential(state.key.get(unparsed(asked.webauthn.credential_options.publicKey)))
  good(await other.auth.mfa.webauthn.verify({
    factorId: factor.id, challengeId: asked.id, webauthn: { type: 'request', ...webauthn, credential_response: used }
  }))
  assert.deepEqual(await levels(other), ['aal2', 'aal2'])
})

await step('a passkey is registered, listed and named', async () => {
  const { challenge_id: challengeId, options, expires_at: expiresAt } = good(await user.auth.passkey.startRegistration())
  assert.ok(expiresAt > Date.now() / 1000)
  state.passkey = new SecurityKey()
  const made = good(await user.auth.passkey.verifyRegistration({ challengeId, credential: state.passkey.create(options) }))
  assert.equal(made.friendly_name, 'Passkey')
  const renamed = good(await user.auth.passkey.update({ passkeyId: made.id, friendlyName: 'My laptop' }))
  assert.equal(renamed.friendly_name, 'My laptop')
  assert.deepEqual(good(await user.auth.passkey.list()).map(({ id, friendly_name: name }) => [id, name]), [[made.id, 'My laptop']])
  state.passkeyId = made.id
})

await step('the passkey signs in', async () => {
  const visitor = client()
  const { challenge_id: challengeId, options } = good(await visitor.auth.passkey.startAuthentication())
  const answer = { challengeId, credential: state.passkey.get(options) }
  const { session } = good(await visitor.auth.passkey.verifyAuthentication(answer))
  assert.equal(session.user.id, state.user.id)
  assert.equal(good(await visitor.auth.getUser()).user.email, email)
  assert.deepEqual(await levels(visitor), ['aal1', 'aal2'])
  refused(await visitor.auth.passkey.verifyAuthentication(answer), 400, 'webauthn_challenge_not_found')
  refused(await visitor.auth.passkey.delete({ passkeyId: state.passkeyId }), 403, 'insufficient_aal')
})

await step('a passkey is deleted by its user', async () => {
  good(await user.auth.passkey.delete({ passkeyId: state.passkeyId }))
  assert.deepEqual(good(await user.auth.passkey.list()), [])
})

await step('administrators see and delete passkeys', async () => {
  const { challenge_id: challengeId, options } = good(await user.auth.passkey.startRegistration())
  const made = good(await user.auth.passkey.verifyRegistration({ challengeId, credential: new SecurityKey().create(options) }))
  const listed = good(await service.auth.admin.passkey.listPasskeys({ userId: state.user.id }))
  assert.equal(listed[0].id, made.id)
  good(await service.auth.admin.passkey.deletePasskey({ userId: state.user.id, passkeyId: made.id }))
  assert.deepEqual(good(await service.auth.admin.passkey.listPasskeys({ userId: state.user.id })), [])
})

await step('administrators see and delete factors', async () => {
  const { factors } = good(await service.auth.admin.mfa.listFactors({ userId: state.user.id }))
  assert.deepEqual(factors.map(({ factor_type: type }) => type).sort(), ['phone', 'totp', 'webauthn'])
  const { id } = factors.find(({ factor_type: type }) => type === 'phone')
  good(await service.auth.admin.mfa.deleteFactor({ userId: state.user.id, id }))
  refused(await service.auth.admin.mfa.deleteFactor({ userId: state.user.id, id }), 404, 'mfa_factor_not_found')
})

await step('without its factors a user is at aal1 again', async () => {
  for (const { id } of good(await user.auth.mfa.listFactors()).all) {
    assert.equal(good(await user.auth.mfa.unenroll({ factorId: id })).id, id)
  }
  good(await user.auth.refreshSession())
  assert.deepEqual(await levels(user), ['aal1', 'aal1'])
})
