// What every script shares: clients, and steps. Each step is one line on standard output, {"step", "ok", "problem"}, which the
// Python side checks; after a failure the rest is left out.

import assert from 'node:assert/strict'
import { createClient } from '@supabase/supabase-js'

const url = process.env.BASALT_URL
const publishableKey = process.env.BASALT_PUBLISHABLE_KEY
const secretKey = process.env.BASALT_SECRET_KEY
const options = { auth: { persistSession: false, autoRefreshToken: false } }

export const client = () => createClient(url, publishableKey, options)
export const service = createClient(url, secretKey, options)

let failed = false

export async function step (name, work) {
  if (failed) return
  try {
    await work()
    console.log(JSON.stringify({ step: name, ok: true }))
  } catch (error) {
    failed = true
    console.log(JSON.stringify({ step: name, ok: false, problem: String(error.stack ?? error) }))
  }
}

// The data of a successful answer.
export function good ({ data, error }) {
  assert.equal(error, null, JSON.stringify(error))
  return data
}

// What a function refused: the status and the structured error.
export async function refusal ({ data, error }) {
  assert.equal(data, null)
  assert.equal(error?.name, 'FunctionsHttpError')
  const body = await error.context.json()
  return { status: error.context.status, ...body.error }
}

export async function signIn (supabase, phone) {
  good(await supabase.auth.signInWithOtp({ phone: `+${phone}` }))
  const { session } = good(await supabase.auth.verifyOtp({ phone: `+${phone}`, token: await codeFor(phone), type: 'sms' }))
  return session
}

async function codeFor (phone) {
  const answer = await fetch(`${url}/studio/inbox.json?to=${phone}&limit=1`, { headers: { apikey: secretKey } })
  const { messages } = await answer.json()
  return messages[0].data.token
}
