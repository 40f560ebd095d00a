// Everything that `functions.invoke` of supabase-js can send and receive.

import assert from 'node:assert/strict'
import { client, good, service, step } from './steps.mjs'

const supabase = client()
const invoke = async (name, options) => good(await supabase.functions.invoke(name, options))

await step('an object is sent and received as JSON', async () => {
  const seen = await invoke('answers/mirror', { body: { name: 'Ada' } })
  assert.equal(seen.kind, 'application/json')
  assert.deepEqual(JSON.parse(seen.text), { name: 'Ada' })
  assert.equal(seen.method, 'POST')
})

await step('text, bytes and blobs are sent as what they are', async () => {
  assert.equal((await invoke('answers/mirror', { body: 'grüße' })).kind, 'text/plain')
  const bytes = new Uint8Array([1, 2, 250])
  for (const body of [bytes.buffer, new Blob([bytes])]) {
    const blob = await invoke('answers/raw', { body, headers: { 'content-type': 'application/octet-stream' } })
    assert.deepEqual(new Uint8Array(await blob.arrayBuffer()), bytes)
  }
})

await step('a form is sent with its files', async () => {
  const form = new FormData()
  form.append('title', 'ü')
  form.append('file', new File(['content'], 'a.txt', { type: 'text/plain' }))
  assert.deepEqual(await invoke('answers/form', { body: form }),
    [['title', 'ü'], ['file', ['a.txt', 'text/plain', 'content']]])
})

await step('headers, the method and a region are passed', async () => {
  const seen = await invoke('answers/mirror', { method: 'PUT', headers: { 'x-own': 'yes' }, body: {}, region: 'eu-west-1' })
  assert.equal(seen.method, 'PUT')
  assert.deepEqual(seen.headers, { 'x-own': 'yes' })
  assert.equal((await invoke('answers/mirror', { method: 'GET' })).method, 'GET')
})

await step('text is received as text', async () => {
  assert.equal(await invoke('answers/cookies'), 'ok')
})

await step('a stream of events is received as it comes', async () => {
  const response = await invoke('answers/events')
  const reader = response.body.getReader()
  const { value } = await reader.read()
  assert.equal(new TextDecoder().decode(value), 'data: first\n\n')
  await reader.cancel()
})

await step('a status that is no success is a FunctionsHttpError with the answer in it', async () => {
  const { data, error, response } = await supabase.functions.invoke('answers/refused')
  assert.equal(data, null)
  assert.equal(error.name, 'FunctionsHttpError')
  assert.equal(error.context.status, 418)
  assert.deepEqual(await response.json(), { reason: 'no' })
})

await step('a refused token is a FunctionsRelayError', async () => {
  const { error } = await supabase.functions.invoke('answers/mirror', { headers: { authorization: 'Bearer nonsense' } })
  assert.equal(error.name, 'FunctionsRelayError')
})

await step('an aborted call is a FunctionsFetchError', async () => {
  const stopping = new AbortController()
  setTimeout(() => stopping.abort(), 200)
  const { error } = await supabase.functions.invoke('wait', { signal: stopping.signal })
  assert.equal(error.name, 'FunctionsFetchError')
})

await step('setAuth changes the caller', async () => {
  const other = client()
  assert.equal((good(await other.functions.invoke('echo'))).role, 'anon')
  other.functions.setAuth(process.env.BASALT_TOKEN)
  assert.equal((good(await other.functions.invoke('echo'))).role, 'authenticated')
  assert.equal((good(await service.functions.invoke('echo'))).role, 'service_role')
})

await step('browsers of any origin may call with any header', async () => {
  const url = `${process.env.BASALT_URL}/functions/v1/echo`
  const asked = await fetch(url, {
    method: 'OPTIONS',
    headers: { origin: 'https://app.example', 'access-control-request-method': 'POST', 'access-control-request-headers': 'x-own, authorization' }
  })
  assert.equal(asked.status, 200)
  assert.equal(asked.headers.get('access-control-allow-origin'), '*')
  assert.match(asked.headers.get('access-control-allow-headers'), /x-own/)
  const answer = await fetch(url, { method: 'POST', headers: { origin: 'https://app.example', apikey: process.env.BASALT_PUBLISHABLE_KEY } })
  assert.equal(answer.headers.get('access-control-allow-origin'), '*')
})
