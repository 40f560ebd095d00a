// What the journeys need: clients, steps that print one line each, {"step", "ok", "problem"}, and the Inbox of the project. Types:
// `basalt gen types -o tests/js/database.ts`.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

// supabase-js is installed beside the contract tests; SUPABASE_JS_DIR is another folder with node_modules.
const load = createRequire(process.env.SUPABASE_JS_DIR
  ? pathToFileURL(`${process.env.SUPABASE_JS_DIR}/`)
  : new URL('../../../../tests/contract/js/', import.meta.url))
const { createClient } = load('@supabase/supabase-js')

const url = process.env.SUPABASE_URL
const options = { auth: { persistSession: false, autoRefreshToken: false } }

/** @type {() => import('./journey_types.js').Client} */
export const client = () => createClient(url, process.env.SUPABASE_PUBLISHABLE_KEY, options)
/** @type {import('./journey_types.js').Client} */
export const service = createClient(url, process.env.SUPABASE_SECRET_KEY, options)

let failed = false

/** @type {(name: string, work: () => Promise<void>) => Promise<void>} */
export async function step (name, work) {
  if (failed) return
  try {
    await work()
    console.log(JSON.stringify({ step: name, ok: true }))
  } catch (error) {
    failed = true
    process.exitCode = 1
    console.log(JSON.stringify({ step: name, ok: false, problem: String(error.stack ?? error) }))
  }
}

/**
 * The data of a successful answer.
 * @template T
 * @param {import('./journey_types.js').Answer<T>} answer
 * @returns {import('./journey_types.js').Known<T>}
 */
export function good ({ data, error }) {
  assert.equal(error, null, JSON.stringify(error))
  return /** @type {any} */ (data)
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
