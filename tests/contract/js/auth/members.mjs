// What the scripts about accounts share: clients with a memory of their own, and what was sent to whom.

import assert from 'node:assert/strict'
import { createClient } from '@supabase/supabase-js'

export { good } from '../steps.mjs'
export { step } from '../query_builder/report.mjs'

export const url = process.env.BASALT_URL
export const publishableKey = process.env.BASALT_PUBLISHABLE_KEY
export const secretKey = process.env.BASALT_SECRET_KEY
export const password = 'correct horse battery'

export function memory () {
  const kept = new Map()
  return {
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, value) => { kept.set(name, value) },
    removeItem: (name) => { kept.delete(name) }
  }
}

export function member (auth = {}) {
  return createClient(url, publishableKey, { auth: { autoRefreshToken: false, storage: memory(), ...auth } })
}

export const admin = createClient(url, secretKey, { auth: { persistSession: false, autoRefreshToken: false } }).auth.admin

// The newest message to somebody, as the Inbox keeps it.
export async function sent (to) {
  const answer = await fetch(`${url}/studio/inbox.json?to=${encodeURIComponent(to)}&limit=1`, { headers: { apikey: secretKey } })
  const { messages } = await answer.json()
  return messages[0]
}

export const codeFor = async (to) => (await sent(to)).data.token

// Where the link of the newest mail leads.
export async function follow (to) {
  const answer = await fetch((await sent(to)).data.confirmation_url, { redirect: 'manual' })
  assert.equal(answer.status, 303)
  return new URL(answer.headers.get('location'))
}

// A refusal, in the client's own class.
export function refused ({ data, error }, name, status, code) {
  assert.equal(error?.name, name, JSON.stringify(error))
  assert.deepEqual([error.status, error.code], [status, code])
  return data
}

export async function signedUp (email, auth) {
  const supabase = member(auth)
  const created = await admin.createUser({ email, password, email_confirm: true })
  assert.equal(created.error, null)
  const { data, error } = await supabase.auth.signInWithPassword({ email, password })
  assert.equal(error, null)
  return { supabase, ...data }
}
