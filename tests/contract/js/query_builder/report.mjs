// Steps that do not need each other: all run, and each reports its own difference, as one line {"step", "ok", "problem"}.

import assert from 'node:assert/strict'

export { client, good, service } from '../steps.mjs'

export async function step (name, work) {
  try {
    await work()
    console.log(JSON.stringify({ step: name, ok: true }))
  } catch (error) {
    const problem = error instanceof assert.AssertionError ? error.message : String(error.stack ?? error)
    console.log(JSON.stringify({ step: name, ok: false, problem }))
  }
}

// The whole answer: rows, count and status. `statusText` is HTTP's business.
export async function answers (query, data, { status = 200, count = null } = {}) {
  const answer = await query
  assert.deepEqual(
    { data: answer.data, count: answer.count, status: answer.status, error: answer.error },
    { data, count, status, error: null }
  )
}

// The error, in those of its parts that `expected` names.
export async function refuses (query, { status, ...expected }) {
  const answer = await query
  const error = answer.error && Object.fromEntries(Object.keys(expected).map((key) => [key, answer.error[key]]))
  assert.deepEqual({ data: answer.data, status: answer.status, error }, { data: null, status, error: expected })
}
