// Tokens: taken from the session, from a callback or by hand, replaced on a live socket, and expired.

import assert from 'node:assert/strict'
import { ann, bob, broadcasts, changes, finish, good, inbox, join, live, member, own, publishableKey, service, step, token, user } from './members.mjs'

const keeper = service()
const note = async (owner, body) => good(await keeper.from('notes').insert({ owner, body }).select().single())
const bodies = ({ items }) => items.map((change) => change.new.body)
const cannotRead = (name) => `You do not have permissions to read from this Channel topic: ${name}`

// Writes a note until it is seen: a token has arrived once it decides.
async function seenOf (seen, owner, body) {
  const row = await note(owner, own(body))
  await seen.find((change) => change.new.id === row.id)
}

await step('whoever signs in is known to the channel', async () => {
  const supabase = member()
  const email = `${own('cleo')}@example.com`
  const { user: cleo } = good(await supabase.auth.signUp({ email, password: 'correct horse battery' }))
  const channel = supabase.channel(own('session'))
  const seen = changes(channel, { event: 'INSERT', table: 'notes' })
  await live(channel)
  await note(bob, own('not hers'))
  await seenOf(seen, cleo.id, 'hers')
  assert.deepEqual(bodies(seen), [own('hers')])
  good(await supabase.auth.refreshSession())
  await seenOf(seen, cleo.id, 'still hers')
  await join(supabase.channel(`user:${cleo.id}`, { config: { private: true } }))
})

await step('the callback is asked again for each join', async () => {
  let asked = 0
  const supabase = member({ accessToken: async () => { asked += 1; return token(ann, { turn: asked }) } })
  await supabase.realtime.setAuth()
  await join(supabase.channel(own('room:callback'), { config: { private: true } }))
  const before = asked
  await join(supabase.channel(own('room:callback 2'), { config: { private: true } }))
  assert.ok(asked > before)
})

await step('setAuth() changes who sees what while the channel stays', async () => {
  const supabase = member()
  await supabase.realtime.setAuth(token(ann))
  const channel = supabase.channel(own('switch'))
  const seen = changes(channel, { event: 'INSERT', table: 'notes' })
  const subscribed = inbox()
  channel.on('system', {}, ({ status, message }) => { if (message === 'Subscribed to PostgreSQL') subscribed.take(status) })
  await join(channel)
  await subscribed.count(1)
  await note(bob, own('bob 1'))
  await seenOf(seen, ann, 'ann 1')
  await supabase.realtime.setAuth(token(bob))
  assert.deepEqual(await subscribed.count(2), ['ok', 'ok'])
  await note(ann, own('ann 2'))
  await seenOf(seen, bob, 'bob 2')
  assert.deepEqual(bodies(seen), [own('ann 1'), own('bob 2')])
})

await step('a fresh token of the same user loses nothing', async () => {
  const supabase = member()
  await supabase.realtime.setAuth(token(ann))
  const channel = supabase.channel(own('fresh'))
  const seen = changes(channel, { event: 'INSERT', table: 'notes' })
  await live(channel)
  const wanted = []
  for (const n of Array(5).keys()) {
    wanted.push(own(`fresh ${n}`))
    const [row] = await Promise.all([note(ann, wanted[n]), supabase.realtime.setAuth(token(ann, { turn: n }))])
    assert.equal(row.body, wanted[n])
  }
  await seen.count(5)
  assert.deepEqual(bodies(seen), wanted)
})

await step('a token that is replaced as soon as the channel has joined leaves nothing of the old one', async () => {
  const channels = await Promise.all([...Array(20).keys()].map(async (n) => {
    const supabase = member()
    await supabase.realtime.setAuth(token(ann))
    const channel = supabase.channel(own(`at once ${n}`))
    const seen = changes(channel, { event: 'INSERT', table: 'notes' })
    await join(channel)
    await supabase.realtime.setAuth(token(bob))
    return seen
  }))
  for (const seen of channels) {
    for (let n = 0; seen.items.every((change) => change.new.owner !== bob); n += 1) {
      await note(bob, own(`flow ${n}`))
      await Promise.race([seen.find((change) => change.new.owner === bob), new Promise((resolve) => setTimeout(resolve, 100))])
    }
  }
  await note(ann, own('old'))
  await note(bob, own('new'))
  await Promise.all(channels.map((seen) => seen.find((change) => change.new.body === own('new'))))
  await note(bob, own('newer'))
  await Promise.all(channels.map((seen) => seen.find((change) => change.new.body === own('newer'))))
  const wanted = ['old', 'new', 'newer'].map(own)
  assert.deepEqual(channels.map((seen) => bodies(seen).filter((body) => wanted.includes(body))), channels.map(() => wanted.slice(1)))
})

await step('a private channel ends when the new token may not read it', async () => {
  const name = own('draft:one')
  const supabase = member()
  await supabase.realtime.setAuth(token(ann, { is_editor: true }))
  const channel = supabase.channel(name, { config: { private: true } })
  const [system, statuses] = [inbox(), inbox()]
  channel.on('system', {}, system.take)
  await join(channel, statuses)
  await supabase.realtime.setAuth(token(ann))
  await statuses.find((status) => status === 'CLOSED')
  assert.deepEqual(system.items, [{ extension: 'system', status: 'error', message: cannotRead(name), channel: name }])
})

await step('a private channel ends when the new token may read only a part of what the old one did', async () => {
  const name = own('draft:part')
  const supabase = member()
  await supabase.realtime.setAuth(token(ann, { is_editor: true }))
  const channel = supabase.channel(name, { config: { private: true, presence: { enabled: true } } })
  const [system, statuses] = [inbox(), inbox()]
  channel.on('system', {}, system.take)
  await join(channel, statuses)
  await supabase.realtime.setAuth(token(ann))
  await statuses.find((status) => status === 'CLOSED')
  assert.equal(system.items[0].message, `You no longer have permission to read from this Channel topic: ${name}`)
})

await step('write permissions are asked for anew with a new token', async () => {
  const supabase = member()
  await supabase.realtime.setAuth(token(ann, { is_editor: true, is_writer: true }))
  const channel = supabase.channel(own('draft:write'), { config: { private: true, broadcast: { ack: true } } })
  await join(channel)
  const send = () => channel.send({ type: 'broadcast', event: 'e', payload: {} }, { timeout: 500 })
  assert.equal(await send(), 'ok')
  await supabase.realtime.setAuth(token(ann, { is_editor: true }))
  assert.equal(await send(), 'timed out')
  await supabase.realtime.setAuth(token(bob, { is_editor: true, is_writer: true }))
  assert.equal(await channel.send({ type: 'broadcast', event: 'e', payload: {} }), 'ok')
})

await step('a token that expires closes its channel, and no other', async () => {
  const supabase = member()
  await supabase.realtime.setAuth(token(ann))
  const stays = supabase.channel(own('room:stays'), { config: { private: true } })
  const heard = broadcasts(stays)
  await join(stays)
  const short = member()
  await short.realtime.setAuth(token(ann, { life: 2 }))
  const name = own('room:expires')
  const channel = short.channel(name, { config: { private: true } })
  const [system, statuses] = [inbox(), inbox()]
  channel.on('system', {}, system.take)
  await join(channel, statuses)
  await statuses.find((status) => status === 'CLOSED')
  const [{ message, ...rest }] = system.items
  assert.match(message, /^Token has expired \d seconds ago$/)
  assert.deepEqual(rest, { extension: 'system', status: 'error', channel: name })
  await (await user(bob)).channel(own('room:stays'), { config: { private: true } }).httpSend('e', {})
  await heard.count(1)
})

await step('tokens that open nothing are refused in their own words', async () => {
  const wrong = token(ann).split('.').slice(0, 2).join('.')
  const cases = [
    [token(ann, { life: -100 }), /^InvalidJWTToken: Token has expired 10\d seconds ago$/],
    [token(ann, { role: undefined }), 'InvalidJWTToken: Fields `role` and `exp` are required in JWT'],
    [token(ann, { exp: undefined }), 'InvalidJWTToken: Fields `role` and `exp` are required in JWT'],
    ['nonsense', 'MalformedJWT: The token provided is not a valid JWT'],
    [`${wrong}.${'A'.repeat(43)}`, 'JwtSignatureError: Failed to validate JWT signature']
  ]
  for (const [n, [given, message]] of cases.entries()) {
    const supabase = member()
    await supabase.realtime.setAuth(given)
    await assert.rejects(join(supabase.channel(own(`bad ${n}`))), { message })
  }
})

await step('a bad token on a live channel ends it', async () => {
  const supabase = member()
  await supabase.realtime.setAuth(token(ann))
  const channel = supabase.channel(own('room:bad'), { config: { private: true } })
  const [system, statuses] = [inbox(), inbox()]
  channel.on('system', {}, system.take)
  await join(channel, statuses)
  await supabase.realtime.setAuth('nonsense')
  await statuses.find((status) => status === 'CLOSED')
  assert.equal(system.items[0].message, 'The token provided is not a valid JWT')
})

await step('a key of the project in the place of a token is the connection\'s own', async () => {
  const supabase = member()
  await supabase.realtime.setAuth(publishableKey)
  const channel = supabase.channel(own('key'))
  const seen = changes(channel, { table: 'todos' })
  await live(channel)
  good(await keeper.from('todos').insert({ title: own('key') }))
  assert.equal((await seen.count(1))[0].new.title, own('key'))
})

await finish()
