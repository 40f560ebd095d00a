// Functions written for Deno behind the gateway, called as apps call them: supabase-js and its `functions.invoke`.

import assert from 'node:assert/strict'
import { client, good, service, step } from './steps.mjs'

const url = process.env.BASALT_URL
const user = client()

await step('an invitation is answered in JSON', async () => {
  assert.deepEqual(good(await client().functions.invoke('greet', { body: { name: 'Ada' } })), { message: 'Hello Ada!' })
})

await step('a browser is told what it may send, and reads one answer to each question', async () => {
  const asked = { origin: 'http://localhost:3000', 'access-control-request-method': 'POST', 'access-control-request-headers': 'apikey, x-mine' }
  const preflight = await fetch(`${url}/functions/v1/greet`, { method: 'OPTIONS', headers: asked })
  assert.ok(preflight.ok)
  assert.ok(preflight.headers.get('access-control-allow-headers').includes('x-mine'))
  const headers = { origin: 'http://localhost:3000', apikey: process.env.BASALT_PUBLISHABLE_KEY }
  const answer = await fetch(`${url}/functions/v1/greet`, { method: 'POST', headers, body: '{"name": "Ada"}' })
  assert.equal(answer.headers.get('access-control-allow-origin'), '*')
})

await step('the function sees the caller through supabase-js, and row-level security does too', async () => {
  good(await user.auth.signUp({ email: 'ada@example.com', password: 'correct horse' }))
  good(await user.from('notes').insert({ body: 'mine' }))
  good(await service.from('notes').insert({ body: "somebody else's", owner: null }))
  const seen = good(await user.functions.invoke('profile'))
  assert.deepEqual(seen, { email: 'ada@example.com', notes: [{ body: 'mine' }], count: 2 })
})

await step('without a key there is no answer, where a token is asked for', async () => {
  assert.equal((await fetch(`${url}/functions/v1/greet`, { method: 'POST' })).status, 401)
  const open = await fetch(`${url}/functions/v1/go/docs`, { redirect: 'manual' })
  assert.equal(open.status, 302)
  assert.deepEqual(open.headers.getSetCookie(), ['seen=1; Path=/', 'from=short; HttpOnly'])
})

await step('a form goes in, bytes come out', async () => {
  const form = new FormData()
  form.append('title', 'Photo')
  form.append('file', new Blob([new Uint8Array(2_000_000).fill(7)], { type: 'image/png' }), 'a.png')
  const made = good(await user.functions.invoke('upload', { body: form }))
  assert.equal(made.name, 'a.png')
  const back = good(await user.functions.invoke('upload', { method: 'GET' }))
  assert.equal(back.size, 2_000_000)
})

await step('what goes wrong has a code and a request id', async () => {
  const { data, error } = await user.functions.invoke('misbehave?how=throw', { headers: { 'x-request-id': 'deno-1' } })
  assert.equal(data, null)
  assert.equal(error.name, 'FunctionsHttpError')
  const body = await error.context.json()
  assert.equal(error.context.status, 500)
  assert.equal(body.error.code, 'SERVER_ERROR')
  assert.equal(body.error.requestId, 'deno-1')
  assert.ok(!JSON.stringify(body).includes('hunter2'))
})

await step('a function is told of its project', async () => {
  const answer = await fetch(`${url}/functions/v1/go/x?tag=1&tag=2`, { headers: { 'x-request-id': 'deno-2' } })
  const seen = await answer.json()
  assert.equal(seen.url, `${url}/go/x?tag=1&tag=2`)
  assert.equal(seen.headers['x-request-id'], 'deno-2')
  for (const name of ['SUPABASE_URL', 'SUPABASE_ANON_KEY', 'SUPABASE_SERVICE_ROLE_KEY', 'SUPABASE_DB_URL', 'OWN_SECRET']) {
    assert.ok(seen.env.includes(name), name)
  }
  assert.ok(!seen.env.includes('SECRET_OF_GATEWAY'))
})
