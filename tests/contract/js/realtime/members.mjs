// What the scripts about Realtime share: clients in the protocol's version under test, tokens, and what arrives on channels.

import { createHmac, randomBytes } from 'node:crypto'
import { createClient } from '@supabase/supabase-js'

export { good } from '../steps.mjs'
export { step } from '../query_builder/report.mjs'

export const url = process.env.BASALT_URL
export const publishableKey = process.env.BASALT_PUBLISHABLE_KEY
export const secretKey = process.env.BASALT_SECRET_KEY
export const vsn = process.env.BASALT_VSN ?? '2.0.0'

export const ann = '00000000-0000-4000-8000-00000000000a'
export const bob = '00000000-0000-4000-8000-00000000000b'

const LIMIT_MS = 10000
const run = randomBytes(4).toString('hex')
const clients = []

// Names that no other run has, for what all share.
export const own = (name) => `${name}-${run}`

export function member ({ key = publishableKey, at = url, realtime = {}, ...options } = {}) {
  const made = createClient(at, key, {
    auth: { persistSession: false, autoRefreshToken: false },
    realtime: { vsn, logger: () => {}, reconnectAfterMs: () => 50, ...realtime },
    ...options
  })
  clients.push(made)
  return made
}

// A user whose tokens come from elsewhere: the client asks for one whenever it needs it. `setAuth()` waits for the first, or
// a channel that is joined at once would be joined without.
export async function user (id, options = {}) {
  const made = member({ accessToken: async () => token(id), ...options })
  await made.realtime.setAuth()
  return made
}

export const service = (options = {}) => member({ key: secretKey, ...options })

// Open sockets would keep the process alive, and so would the clients' own timers of messages that nobody answers.
export async function finish () {
  await Promise.all(clients.map((made) => made.removeAllChannels()))
  process.exit(0)
}

export function token (id, { life = 3600, ...claims } = {}) {
  const now = Math.floor(Date.now() / 1000)
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const content = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({
    aud: 'authenticated', role: 'authenticated', sub: id, iat: now, exp: now + life, ...claims
  })}`
  return `${content}.${createHmac('sha256', process.env.BASALT_JWT_SECRET).update(content).digest('base64url')}`
}

// Keeps what arrives. `find` and `count` wait for it.
export function inbox () {
  const items = []
  const waiting = new Set()
  const take = (item) => {
    items.push(item)
    for (const wake of waiting) wake()
  }
  async function until (holds, wanted) {
    const ends = Date.now() + LIMIT_MS
    while (!holds()) {
      const left = ends - Date.now()
      if (left <= 0) throw new Error(`waited for ${wanted}, received ${JSON.stringify(items)}`)
      await new Promise((resolve) => {
        const wake = () => { clearTimeout(timer); waiting.delete(wake); resolve() }
        const timer = setTimeout(wake, left)
        waiting.add(wake)
      })
    }
  }
  async function find (matches) {
    await until(() => items.some(matches), matches)
    return items.find(matches)
  }
  async function count (number) {
    await until(() => items.length >= number, `${number} messages`)
    return items
  }
  return { items, take, find, count, until: (holds) => until(holds, holds) }
}

// Subscribed, or the error that the client gives instead.
export function join (channel, statuses = inbox()) {
  return new Promise((resolve, reject) => {
    channel.subscribe((status, error) => {
      statuses.take(status)
      if (status === 'SUBSCRIBED') resolve(channel)
      else reject(error ?? new Error(status))
    })
  })
}

// Joined, and changes flow from now on.
export async function live (channel, statuses) {
  const system = inbox()
  channel.on('system', {}, system.take)
  await join(channel, statuses)
  await system.find(({ message }) => message === 'Subscribed to PostgreSQL')
  return channel
}

// Broadcasts of a channel, before it joins.
export function broadcasts (channel, event = '*') {
  const { take, ...heard } = inbox()
  channel.on('broadcast', { event }, take)
  return heard
}

// Changes of a channel, before it joins.
export function changes (channel, binding) {
  const { take, ...seen } = inbox()
  channel.on('postgres_changes', { event: '*', schema: 'public', ...binding }, take)
  return seen
}
