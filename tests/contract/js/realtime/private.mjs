// Private channels: policies on realtime.messages decide who listens, speaks and shows up.

import assert from 'node:assert/strict'
import { ann, bob, broadcasts, finish, inbox, join, member, own, step, user } from './members.mjs'

const PRIVATE = { config: { private: true } }
const refused = (name) => ({ message: `Unauthorized: You do not have permissions to read from this Channel topic: ${name}` })
const [anna, robert, stranger] = [await user(ann), await user(bob), member()]

await step('those whom a policy lets in hear each other', async () => {
  const name = own('room:in')
  const [mine, theirs] = [anna, robert].map((client) => client.channel(name, PRIVATE))
  const heard = broadcasts(theirs)
  await Promise.all([join(mine), join(theirs)])
  await mine.send({ type: 'broadcast', event: 'e', payload: { a: 1 } })
  assert.deepEqual((await heard.count(1))[0].payload, { a: 1 })
})

await step('those whom no policy lets in are told so', async () => {
  const name = own('room:out')
  await assert.rejects(join(stranger.channel(name, PRIVATE)), refused(name))
  await assert.rejects(join(anna.channel(own('elsewhere'), PRIVATE)), refused(own('elsewhere')))
})

await step('a policy may know the user: everybody has a channel of their own', async () => {
  const name = `user:${ann}`
  await join(anna.channel(name, PRIVATE))
  await assert.rejects(join(robert.channel(name, PRIVATE)), refused(name))
})

await step('public and private channels of one name are two rooms', async () => {
  const name = own('room:twin')
  const closed = anna.channel(name, PRIVATE)
  const open = stranger.channel(name)
  const [inside, outside] = [closed, open].map((channel) => broadcasts(channel))
  await Promise.all([join(closed), join(open)])
  await robert.channel(name, PRIVATE).httpSend('inside', {})
  await member().channel(name).httpSend('outside', {})
  await Promise.all([inside.count(1), outside.count(1)])
  assert.deepEqual([inside, outside].map(({ items }) => items.map(({ event }) => event)), [['inside'], ['outside']])
})

await step('who may only read is not heard, over the socket or over HTTP', async () => {
  const name = own('room:board')
  const writer = anna.channel(name, PRIVATE)
  const reader = robert.channel(name, PRIVATE)
  const heard = broadcasts(reader)
  await Promise.all([join(writer), join(reader)])
  assert.equal(await writer.send({ type: 'broadcast', event: 'e', payload: {} }), 'ok')
  const before = (await user(ann)).channel(name, PRIVATE)
  assert.equal(await before.send({ type: 'broadcast', event: 'e', payload: {} }), 'ok')
  await assert.rejects(writer.httpSend('e', {}), { message: 'Unauthorized' })
  await assert.rejects(stranger.channel(own('room:any'), PRIVATE).httpSend('e', {}), { message: 'Unauthorized' })
  assert.equal(await writer.track({ name: 'Ann' }), 'error')
  await member({ key: process.env.BASALT_SECRET_KEY }).channel(name, PRIVATE).httpSend('last', {})
  await heard.count(1)
  assert.deepEqual(heard.items.map(({ event }) => event), ['last'])
})

await step('a refused message is not acknowledged', async () => {
  const channel = anna.channel(own('room:board-ack'), { config: { private: true, broadcast: { ack: true } } })
  await join(channel)
  assert.equal(await channel.send({ type: 'broadcast', event: 'e', payload: {} }, { timeout: 500 }), 'timed out')
})

await step('presence has permissions of its own', async () => {
  const name = own('hall:lobby')
  const [mine, theirs] = [anna, robert].map((client, n) => client.channel(name, { config: { private: true, presence: { key: `k${n}` } } }))
  const syncs = inbox()
  const heard = broadcasts(theirs)
  mine.on('presence', { event: 'sync' }, () => {})
  theirs.on('presence', { event: 'sync' }, syncs.take)
  await Promise.all([join(mine), join(theirs)])
  assert.equal(await mine.send({ type: 'broadcast', event: 'unheard', payload: {} }), 'ok')
  assert.equal(await mine.track({ name: 'Ann' }), 'ok')
  await syncs.until(() => theirs.presenceState().k0)
  assert.deepEqual(theirs.presenceState().k0.map(({ name }) => name), ['Ann'])
  assert.deepEqual(heard.items, [])
  await assert.rejects(join((await user(ann)).channel(name, PRIVATE)), refused(name))
})

await finish()
