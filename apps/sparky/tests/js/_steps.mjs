// What the journey needs: clients, steps that print one line each, {"step", "ok", "problem"}, and the Inbox of the project.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

// supabase-js is installed beside the contract tests: SUPABASE_JS_DIR is a folder with node_modules.
const require = createRequire(pathToFileURL(`${process.env.SUPABASE_JS_DIR}/`))
const { createClient } = require('@supabase/supabase-js')

const url = process.env.SUPABASE_URL
const options = { auth: { persistSession: false, autoRefreshToken: false } }

export const client = () => createClient(url, process.env.SUPABASE_PUBLISHABLE_KEY, options)
export const service = createClient(url, process.env.SUPABASE_SECRET_KEY, options)

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

// The six digits of the newest mail to an address.
export async function codeFor (address) {
  const answer = await fetch(`${url}/studio/inbox.json?to=${encodeURIComponent(address)}&limit=1`, {
    headers: { apikey: process.env.SUPABASE_SECRET_KEY }
  })
  const { messages } = await answer.json()
  return messages[0].subject.match(/\b\d{6}\b/)[0]
}

// Resolves once the channel's changes flow: clients wait for this before they write.
export function subscribe (channel) {
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

export async function until (condition, what) {
  const deadline = Date.now() + 10000
  while (!condition()) {
    if (Date.now() > deadline) assert.fail(`not within ten seconds: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
