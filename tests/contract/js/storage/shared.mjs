// What the scripts about Storage share: clients of several callers, and buckets.

import { createHmac, randomUUID } from 'node:crypto'
import { createClient } from '@supabase/supabase-js'
import { good, service } from '../steps.mjs'

export * from '../steps.mjs'

const url = process.env.BASALT_URL
const options = { auth: { persistSession: false, autoRefreshToken: false } }

// A user who need not have an account: Storage goes by the token.
export function member (claims = {}) {
  const id = randomUUID()
  const token = sign({ role: 'authenticated', aud: 'authenticated', sub: id, exp: 2 ** 31, ...claims })
  const client = createClient(url, process.env.BASALT_PUBLISHABLE_KEY, {
    ...options, global: { headers: { authorization: `Bearer ${token}` } }
  })
  return { id, token, client, storage: client.storage }
}

export async function bucket (kind, settings = {}) {
  const id = `${kind}-${randomUUID()}`
  good(await service.storage.createBucket(id, { public: false, ...settings }))
  return id
}

function sign (claims) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const head = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`
  return `${head}.${createHmac('sha256', process.env.BASALT_JWT_SECRET).update(head).digest('base64url')}`
}
