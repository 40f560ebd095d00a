// What protects sign-in, as unmodified supabase-js shows it: captchas, weak passwords, hooks and limits.

import assert from 'node:assert/strict'
import { client, good, service, step } from '../steps.mjs'

const PASSWORD = 'correct horse battery'
let number = 0
const captchaToken = () => `solved-${number++}`
const claims = ({ access_token: token }) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'))
const state = {}

function assertApiError (error, status, code, message) {
  assert.equal(error?.name, 'AuthApiError', String(error))
  assert.deepEqual([error.status, error.code], [status, code])
  if (message) assert.match(error.message, message)
}

await step('without a captcha nobody signs up', async () => {
  const { error } = await client().auth.signUp({ email: 'ada@example.com', password: PASSWORD })
  assertApiError(error, 400, 'captcha_failed', /no captcha_token found/)
})

await step('a made-up captcha is refused with the reason', async () => {
  const options = { captchaToken: 'made up' }
  const { error } = await client().auth.signUp({ email: 'ada@example.com', password: PASSWORD, options })
  assertApiError(error, 400, 'captcha_failed', /invalid-input-response/)
})

await step('with a captcha one signs up, and a hook adds to the token', async () => {
  const options = { captchaToken: captchaToken() }
  const { session } = good(await client().auth.signUp({ email: 'ada@example.com', password: PASSWORD, options }))
  assert.equal(claims(session).plan, 'free')
})

await step('a weak password is its own error with every reason', async () => {
  const options = { captchaToken: captchaToken() }
  const { error } = await client().auth.signUp({ email: 'eve@example.com', password: 'qwerty', options })
  assert.equal(error.name, 'AuthWeakPasswordError')
  assert.deepEqual(error.reasons, ['length', 'pwned'])
  assert.deepEqual([error.status, error.code], [422, 'weak_password'])
})

await step('a hook refuses a new user in its own words', async () => {
  const options = { captchaToken: captchaToken() }
  const { error } = await client().auth.signUp({ email: 'eve@refused.example', password: PASSWORD, options })
  assertApiError(error, 403, 'unknown', /^Not with this address$/)
})

await step('every method that takes a captcha sends it', async () => {
  const { auth } = client()
  const options = () => ({ captchaToken: captchaToken() })
  assert.equal(claims(good(await auth.signInAnonymously({ options: options() })).session).is_anonymous, true)
  good(await auth.signInWithOtp({ email: 'ada@example.com', options: options() }))
  good(await auth.resetPasswordForEmail('ada@example.com', options()))
  good(await auth.resend({ type: 'signup', email: 'ada@example.com', options: options() }))
  for (const refused of [
    await auth.signInAnonymously(),
    await auth.signInWithOtp({ email: 'ada@example.com' }),
    await auth.resetPasswordForEmail('ada@example.com'),
    await auth.resend({ type: 'signup', email: 'ada@example.com' }),
    await auth.signInWithPassword({ email: 'ada@example.com', password: PASSWORD })
  ]) assertApiError(refused.error, 400, 'captcha_failed')
})

await step('signing in needs one, refreshing does not, and the claim stays', async () => {
  const ada = client()
  const options = { captchaToken: captchaToken() }
  good(await ada.auth.signInWithPassword({ email: 'ada@example.com', password: PASSWORD, options }))
  const { session } = good(await ada.auth.refreshSession())
  assert.equal(claims(session).plan, 'free')
  state.ada = ada
})

await step('a breached password cannot be chosen later either', async () => {
  const { error } = await state.ada.auth.updateUser({ password: 'password123' })
  assert.equal(error.name, 'AuthWeakPasswordError')
  assert.deepEqual(error.reasons, ['pwned'])
})

await step('who has a weak password signs in and is told', async () => {
  good(await service.auth.admin.createUser({ email: 'old@example.com', password: 'qwerty', email_confirm: true }))
  const options = { captchaToken: captchaToken() }
  const data = good(await client().auth.signInWithPassword({ email: 'old@example.com', password: 'qwerty', options }))
  assert.deepEqual(data.weakPassword.reasons, ['length', 'pwned'])
})

await step('after too many wrong passwords the answer is 429, with and without an account', async () => {
  for (const email of ['ada@example.com', 'nobody@example.com']) {
    for (const code of [...Array(3).fill('invalid_credentials'), 'over_request_rate_limit']) {
      const options = { captchaToken: captchaToken() }
      const { error } = await client().auth.signInWithPassword({ email, password: 'wrong password', options })
      assertApiError(error, code === 'invalid_credentials' ? 400 : 429, code)
    }
  }
})
