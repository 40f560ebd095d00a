// Supabase's "Queues" guides through unmodified supabase-js: the quick start, the API reference and the consumer, with each role.

import assert from 'node:assert/strict'
import { client, good, service, step } from './steps.mjs'

const queues = (supabase) => supabase.schema('pgmq_public')
const state = {}

async function member (name) {
  const supabase = client()
  const { user } = good(await supabase.auth.signUp({ email: `${name}@queues.example`, password: 'long enough to pass' }))
  return { supabase, id: user.id }
}

// A refusal by PostgreSQL, as PostgREST tells it.
function refused ({ data, error, status }, expectedStatus, message) {
  assert.equal(data, null)
  assert.equal(error.code, '42501')
  assert.match(error.message, message)
  assert.equal(status, expectedStatus)
}

await step('the back end sends, with and without a delay', async () => {
  const sent = await queues(service).rpc('send', { queue_name: 'foo', message: { hello: 'world' }, sleep_seconds: 30 })
  assert.equal(sent.status, 200)
  assert.deepEqual(good(sent), [1])
  assert.deepEqual(good(await queues(service).rpc('send', { queue_name: 'foo', message: { hello: 'now' } })), [2])
})

await step('a batch is sent and its ids come back in order', async () => {
  const messages = [{ n: 1 }, { n: 2 }, 'text', null, [1, 2]]
  assert.deepEqual(good(await queues(service).rpc('send_batch', { queue_name: 'foo', messages })), [3, 4, 5, 6, 7])
  const later = { queue_name: 'foo', messages: [{ n: 3 }], sleep_seconds: 30 }
  assert.deepEqual(good(await queues(service).rpc('send_batch', later)), [8])
})

await step('an empty batch is an error', async () => {
  const { error, status } = await queues(service).rpc('send_batch', { queue_name: 'foo', messages: [] })
  assert.equal(status, 400)
  assert.equal(error.code, 'P0001')
  assert.equal(error.message, 'msgs cannot be NULL or empty')
})

await step('what is read is a message record, hidden from the next read', async () => {
  const [message, ...others] = good(await queues(service).rpc('read', { queue_name: 'foo', sleep_seconds: 60, n: 1 }))
  assert.deepEqual(others, [])
  assert.equal(message.msg_id, 2)
  assert.equal(message.read_ct, 1)
  assert.deepEqual(message.message, { hello: 'now' })
  assert.equal(message.headers, null)
  assert.ok(new Date(message.vt) > new Date(message.enqueued_at))
  const [next] = good(await queues(service).rpc('read', { queue_name: 'foo', sleep_seconds: 60, n: 1 }))
  assert.deepEqual(next.message, { n: 1 })
})

await step('a message is popped once', async () => {
  const [message] = good(await queues(service).rpc('pop', { queue_name: 'foo' }))
  assert.deepEqual([message.msg_id, message.read_ct, message.message], [4, 0, { n: 2 }])
  const [next] = good(await queues(service).rpc('pop', { queue_name: 'foo' }))
  assert.equal(next.message, 'text')
})

await step('a message is archived and deleted once', async () => {
  assert.equal(good(await queues(service).rpc('archive', { queue_name: 'foo', message_id: 2 })), true)
  assert.equal(good(await queues(service).rpc('archive', { queue_name: 'foo', message_id: 2 })), false)
  assert.equal(good(await queues(service).rpc('delete', { queue_name: 'foo', message_id: 3 })), true)
  assert.equal(good(await queues(service).rpc('delete', { queue_name: 'foo', message_id: 3 })), false)
})

await step('a consumer reads five at a time and deletes each when it is done', async () => {
  const done = []
  for (;;) {
    const messages = good(await queues(service).rpc('read', { queue_name: 'foo', sleep_seconds: 30, n: 5 }))
    if (messages.length === 0) break
    for (const { msg_id: id, message } of messages) {
      done.push(message)
      assert.equal(good(await queues(service).rpc('delete', { queue_name: 'foo', message_id: id })), true)
    }
  }
  assert.deepEqual(done, [null, [1, 2]])
  assert.deepEqual(good(await queues(service).rpc('pop', { queue_name: 'foo' })), [])
})

await step('a queue that is not there is an error', async () => {
  const { error, status } = await queues(service).rpc('send', { queue_name: 'bar', message: {} })
  assert.equal(status, 404)
  assert.equal(error.code, '42P01')
  assert.equal(error.message, 'relation "pgmq.q_bar" does not exist')
})

await step('a name that would be SQL is an error', async () => {
  const name = "foo'; drop table pgmq.q_foo; --"
  const { error, status } = await queues(service).rpc('send', { queue_name: name, message: {} })
  assert.equal(status, 400)
  assert.match(error.message, /^queue name contains invalid characters/)
})

await step('a visitor is refused every operation', async () => {
  const visitor = queues(client())
  const calls = {
    send: { queue_name: 'foo', message: {} },
    send_batch: { queue_name: 'foo', messages: [{}] },
    read: { queue_name: 'foo', sleep_seconds: 0, n: 1 },
    pop: { queue_name: 'foo' },
    archive: { queue_name: 'foo', message_id: 1 },
    delete: { queue_name: 'foo', message_id: 1 }
  }
  for (const [name, parameters] of Object.entries(calls)) {
    refused(await visitor.rpc(name, parameters), 401, /^permission denied for table q_foo$/)
  }
})

await step('a member is refused a queue without grants', async () => {
  state.amina = await member('amina')
  const sent = await queues(state.amina.supabase).rpc('send', { queue_name: 'foo', message: {} })
  refused(sent, 403, /^permission denied for table q_foo$/)
})

await step('a member sends what the policy allows and nothing else', async () => {
  const { supabase, id } = state.amina
  const own = { member_id: id, wish: 'a table by the window' }
  const sent = good(await queues(supabase).rpc('send_batch', { queue_name: 'requests', messages: [own, own, own, own] }))
  assert.deepEqual(sent, [1, 2, 3, 4])
  const forged = { queue_name: 'requests', message: { member_id: crypto.randomUUID() } }
  refused(await queues(supabase).rpc('send', forged), 403, /violates row-level security policy for table "q_requests"/)
})

await step('a member sees nothing of another one', async () => {
  const { supabase } = await member('bilal')
  assert.deepEqual(good(await queues(supabase).rpc('read', { queue_name: 'requests', sleep_seconds: 0, n: 10 })), [])
  assert.deepEqual(good(await queues(supabase).rpc('pop', { queue_name: 'requests' })), [])
  assert.equal(good(await queues(supabase).rpc('delete', { queue_name: 'requests', message_id: 1 })), false)
  assert.equal(good(await queues(supabase).rpc('archive', { queue_name: 'requests', message_id: 1 })), false)
})

await step('a member takes their own', async () => {
  const { supabase } = state.amina
  const [read] = good(await queues(supabase).rpc('read', { queue_name: 'requests', sleep_seconds: 60, n: 1 }))
  assert.equal(read.msg_id, 1)
  const [popped] = good(await queues(supabase).rpc('pop', { queue_name: 'requests' }))
  assert.equal(popped.msg_id, 2)
  assert.equal(good(await queues(supabase).rpc('archive', { queue_name: 'requests', message_id: 1 })), true)
  assert.equal(good(await queues(supabase).rpc('delete', { queue_name: 'requests', message_id: 3 })), true)
})

await step('the back end passes row-level security', async () => {
  const left = good(await queues(service).rpc('read', { queue_name: 'requests', sleep_seconds: 0, n: 10 }))
  assert.deepEqual(left.map((message) => message.msg_id), [4])
})

await step('the schema of the extension itself is not exposed', async () => {
  const { error, status } = await service.schema('pgmq').rpc('create', { queue_name: 'mine' })
  assert.equal(status, 406)
  assert.equal(error.code, 'PGRST106')
  const inPublic = await service.schema('pgmq_public').rpc('create', { queue_name: 'mine' })
  assert.equal(inPublic.error.code, 'PGRST202')
})
