// Writes with an Idempotency-Key, by unmodified supabase-js: a client made with the header, as for one thing to be done.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createClient } from '@supabase/supabase-js'
import { good, service, step } from './steps.mjs'

const options = { auth: { persistSession: false, autoRefreshToken: false } }

await step('an insert with a key is made once', async () => {
  const key = randomUUID()
  const insert = () => service.from('orders').insert({ item: 'tea', number: key }).select().single().setHeader('Idempotency-Key', key)
  const first = good(await insert())
  assert.deepEqual(good(await insert()), first)
  assert.equal(good(await service.from('orders').select().eq('number', key)).length, 1)
})

await step('a call with a key is made once', async () => {
  const key = randomUUID()
  const call = () => service.rpc('order_slowly', { item: key, seconds: 0 }).setHeader('Idempotency-Key', key)
  assert.equal(good(await call()), good(await call()))
  assert.equal(good(await service.from('orders').select().eq('item', key)).length, 1)
})

await step('a function with a key is invoked once', async () => {
  const key = randomUUID()
  const invoke = () => service.functions.invoke('count', { body: { n: 1 }, headers: { 'Idempotency-Key': key } })
  const { number } = good(await invoke())
  assert.equal(good(await invoke()).number, number)
})

await step('a key of the whole client goes with every write', async () => {
  const key = randomUUID()
  const client = createClient(process.env.BASALT_URL, process.env.BASALT_SECRET_KEY, {
    ...options, global: { headers: { 'Idempotency-Key': key } }
  })
  const row = { item: 'coffee', number: key }
  const first = await client.from('orders').insert(row).select()
  const again = await client.from('orders').insert(row).select()
  assert.deepEqual(again.data, good(first))
  assert.equal((await client.from('orders').select().eq('number', key)).data.length, 1)
})

await step('another request with the same key is an error with a code', async () => {
  const key = randomUUID()
  good(await service.from('orders').insert({ item: 'a' }).setHeader('Idempotency-Key', key))
  const { error, status } = await service.from('orders').insert({ item: 'b' }).setHeader('Idempotency-Key', key)
  assert.equal(status, 422)
  assert.equal(error.code, 'idempotency_key_reused')
})
