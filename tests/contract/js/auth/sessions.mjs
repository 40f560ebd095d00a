// Sessions: kept, refreshed, ended, verified without a request, and begun on one page to end on another.

import assert from 'node:assert/strict'
import { admin, follow, good, member, memory, password, publishableKey, refused, signedUp, step, url } from './members.mjs'
import { createClient } from '@supabase/supabase-js'

await step('a session is kept, refreshed and told of', async () => {
  const storage = memory()
  const events = []
  const { supabase, session } = await signedUp('keeps@example.com', { storage })
  const { data: { subscription } } = supabase.auth.onAuthStateChange((event) => events.push(event))
  const refreshed = good(await supabase.auth.refreshSession())
  assert.notEqual(refreshed.session.refresh_token, session.refresh_token)
  assert.equal(good(await supabase.auth.getSession()).session.access_token, refreshed.session.access_token)
  good(await supabase.auth.signOut())
  assert.equal(good(await supabase.auth.getSession()).session, null)
  subscription.unsubscribe()
  assert.deepEqual(events, ['INITIAL_SESSION', 'TOKEN_REFRESHED', 'SIGNED_OUT'])
  const later = member({ storage })
  good(await later.auth.initialize())
  assert.equal(good(await later.auth.getSession()).session, null)
})

await step('a session goes from one client to another', async () => {
  const { session } = await signedUp('moves-on@example.com')
  const other = member()
  good(await other.auth.setSession(session))
  assert.equal(good(await other.auth.getUser()).user.email, 'moves-on@example.com')
  assert.equal(good(await member().auth.getUser(session.access_token)).user.email, 'moves-on@example.com')
  refused(await member().auth.getUser('not-a-token'), 'AuthApiError', 403, 'bad_jwt')
  assert.equal((await member().auth.getUser()).error.name, 'AuthSessionMissingError')
})

await step('signing out ends this session, the others, or all', async () => {
  const first = await signedUp('many@example.com')
  const clients = [first.supabase, member(), member()]
  for (const each of clients.slice(1)) good(await each.auth.signInWithPassword({ email: 'many@example.com', password }))
  const alive = async () => Promise.all(clients.map(async (each) => (await each.auth.getUser()).error === null))
  assert.equal((await clients[0].auth.signOut({ scope: 'others' })).error, null)
  assert.deepEqual(await alive(), [true, false, false])
  good(await clients[1].auth.signInWithPassword({ email: 'many@example.com', password }))
  assert.equal((await clients[1].auth.signOut({ scope: 'local' })).error, null)
  assert.deepEqual(await alive(), [true, false, false])
  good(await clients[2].auth.signInWithPassword({ email: 'many@example.com', password }))
  const { data: { session } } = await clients[2].auth.getSession()
  assert.equal((await admin.signOut(session.access_token, 'global')).error, null)
  assert.deepEqual(await alive(), [false, false, false])
})

await step('a used refresh token gives the present session, not a second one', async () => {
  const { supabase, session } = await signedUp('tabs@example.com')
  const refreshed = good(await supabase.auth.refreshSession())
  const late = good(await member().auth.refreshSession(session))
  assert.equal(late.session.refresh_token, refreshed.session.refresh_token)
  refused(await member().auth.refreshSession({ refresh_token: 'aaaabbbbcccc' }), 'AuthApiError', 400, 'refresh_token_not_found')
})

await step('claims are verified without asking the server again', async () => {
  const asked = []
  const supabase = createClient(url, publishableKey, {
    auth: { autoRefreshToken: false, storage: memory() },
    global: { fetch: (target, options) => { asked.push(new URL(target).pathname); return fetch(target, options) } }
  })
  await signedUp('claims@example.com')
  good(await supabase.auth.signInWithPassword({ email: 'claims@example.com', password }))
  for (let round = 0; round < 3; round++) {
    const { claims, header } = good(await supabase.auth.getClaims())
    assert.deepEqual([header.alg, claims.email, claims.aal, claims.amr[0].method], ['ES256', 'claims@example.com', 'aal1', 'password'])
  }
  assert.deepEqual(asked, ['/auth/v1/token', '/auth/v1/.well-known/jwks.json'])
  const { data: { session } } = await supabase.auth.getSession()
  const [head, body] = session.access_token.split('.')
  const { error } = await supabase.auth.getClaims(`${head}.${body}.${'A'.repeat(86)}`)
  assert.equal(error.name, 'AuthInvalidJwtError')
})

await step('a flow that began with a challenge ends by its exchange, once', async () => {
  const supabase = member({ flowType: 'pkce' })
  good(await supabase.auth.signInWithOtp({ email: 'pkce@example.com', options: { emailRedirectTo: 'https://app.example.com/cb?next=/a' } }))
  const target = await follow('pkce@example.com')
  assert.equal(target.searchParams.get('next'), '/a')
  const code = target.searchParams.get('code')
  const stranger = member({ flowType: 'pkce' })
  assert.ok((await stranger.auth.exchangeCodeForSession(code)).error)
  const { session } = good(await supabase.auth.exchangeCodeForSession(code))
  assert.equal(session.user.email, 'pkce@example.com')
  good(await supabase.auth.resetPasswordForEmail('pkce@example.com'))
  const recovery = await follow('pkce@example.com')
  const recovered = good(await supabase.auth.exchangeCodeForSession(recovery.searchParams.get('code')))
  assert.equal(recovered.redirectType, 'recovery')
})

await step('a client refreshes by itself while it may', async () => {
  const storage = memory()
  const { supabase, session } = await signedUp('auto@example.com', { storage, storageKey: 'auto' })
  storage.setItem('auto', JSON.stringify({ ...session, expires_at: Math.floor(Date.now() / 1000) - 10, expires_in: -10 }))
  await supabase.auth.startAutoRefresh()
  await supabase.auth.stopAutoRefresh()
  assert.notEqual(good(await supabase.auth.getSession()).session.access_token, session.access_token)
  await supabase.auth.dispose()
})

await step('an API key is no user and a user no administrator', async () => {
  const { session } = await signedUp('plain@example.com')
  refused(await member().auth.getUser(publishableKey), 'AuthApiError', 403, 'bad_jwt')
  const posing = createClient(url, publishableKey, { global: { headers: { Authorization: `Bearer ${session.access_token}` } }, auth: { persistSession: false } })
  refused(await posing.auth.admin.listUsers(), 'AuthApiError', 403, 'not_admin')
})
