// Signing in through providers, linking and unlinking, with unmodified supabase-js; fetch plays the browser.

import assert from 'node:assert/strict'
import { createClient } from '@supabase/supabase-js'
import { client, good, service, step } from '../steps.mjs'

const APP = 'http://127.0.0.1:3000/welcome'
const tokens = JSON.parse(process.env.ID_TOKENS)
const state = {}

// A client with a storage, where the PKCE verifier waits.
function pkceClient () {
  const kept = new Map()
  const storage = {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => { kept.set(key, value) },
    removeItem: (key) => { kept.delete(key) }
  }
  const auth = { flowType: 'pkce', persistSession: true, autoRefreshToken: false, detectSessionInUrl: false, storage }
  return createClient(process.env.BASALT_URL, process.env.BASALT_PUBLISHABLE_KEY, { auth })
}

// Follow redirects until the application's own page.
async function browse (url) {
  for (let hops = 0; hops < 5; hops++) {
    if (url.startsWith('http://127.0.0.1:3000')) return new URL(url)
    const answer = await fetch(url, { redirect: 'manual' })
    assert.ok(answer.status === 302 || answer.status === 303, `${url} answered ${answer.status}: ${await answer.text()}`)
    url = answer.headers.get('location')
  }
  assert.fail('too many redirects')
}

const browserOptions = { redirectTo: APP, skipBrowserRedirect: true }

await step('signInWithOAuth with PKCE, then exchangeCodeForSession', async () => {
  const supabase = pkceClient()
  const options = { ...browserOptions, scopes: 'calendar', queryParams: { access_type: 'offline', prompt: 'consent' } }
  const { provider, url } = good(await supabase.auth.signInWithOAuth({ provider: 'google', options }))
  assert.equal(provider, 'google')
  const end = await browse(url)
  assert.equal(end.pathname, '/welcome')
  const { session, user } = good(await supabase.auth.exchangeCodeForSession(end.searchParams.get('code')))
  assert.equal(user.email, 'ada@example.com')
  assert.ok(session.provider_token)
  assert.ok(session.provider_refresh_token)
  state.adaId = user.id
  const again = await supabase.auth.exchangeCodeForSession(end.searchParams.get('code'))
  assert.ok(again.error)
})

await step('signInWithOAuth with the implicit flow, then setSession', async () => {
  const supabase = client()
  const { url } = good(await supabase.auth.signInWithOAuth({ provider: 'google', options: browserOptions }))
  const fragment = new URLSearchParams((await browse(url)).hash.slice(1))
  const session = good(await supabase.auth.setSession({
    access_token: fragment.get('access_token'),
    refresh_token: fragment.get('refresh_token')
  }))
  assert.equal(session.user.id, state.adaId)
  assert.ok(fragment.get('provider_token'))
})

await step('a provider that is not enabled is refused', async () => {
  const { url } = good(await client().auth.signInWithOAuth({ provider: 'github', options: browserOptions }))
  const answer = await fetch(url, { redirect: 'manual' })
  assert.equal(answer.status, 400)
  assert.equal((await answer.json()).error_code, 'validation_failed')
})

await step('signInWithIdToken', async () => {
  const supabase = client()
  const { user, session } = good(await supabase.auth.signInWithIdToken({
    provider: 'google', token: tokens.ada, nonce: 'the nonce', access_token: 'the access token'
  }))
  assert.equal(user.id, state.adaId)
  assert.ok(session.refresh_token)
})

await step('signInWithIdToken refuses another nonce and another provider\'s token', async () => {
  const nonce = await client().auth.signInWithIdToken({ provider: 'google', token: tokens.ada, nonce: 'other' })
  assert.equal(nonce.error.name, 'AuthApiError')
  assert.equal(nonce.error.status, 400)
  assert.equal(nonce.data.session, null)
  const foreign = await client().auth.signInWithIdToken({ provider: 'google', token: tokens.keycloak })
  assert.equal(foreign.error.status, 400)
  assert.equal(foreign.error.message, 'Bad ID token')
})

await step('linkIdentity, getUserIdentities and unlinkIdentity', async () => {
  const supabase = pkceClient()
  good(await supabase.auth.signInWithIdToken({ provider: 'google', token: tokens.ada, nonce: 'the nonce' }))
  const { provider, url } = good(await supabase.auth.linkIdentity({ provider: 'keycloak', options: browserOptions }))
  assert.equal(provider, 'keycloak')
  const end = await browse(url)
  const { user } = good(await supabase.auth.exchangeCodeForSession(end.searchParams.get('code')))
  assert.equal(user.id, state.adaId)
  const { identities } = good(await supabase.auth.getUserIdentities())
  assert.deepEqual(identities.map((identity) => identity.provider), ['google', 'keycloak'])
  good(await supabase.auth.unlinkIdentity(identities[1]))
  const rest = good(await supabase.auth.getUserIdentities()).identities
  assert.deepEqual(rest.map((identity) => identity.provider), ['google'])
  const { error } = await supabase.auth.unlinkIdentity(rest[0])
  assert.equal(error.code, 'single_identity_not_deletable')
  assert.equal(error.status, 422)
})

await step('linkIdentity with an ID token makes an anonymous user permanent', async () => {
  const supabase = client()
  const anonymous = good(await supabase.auth.signInAnonymously()).user
  const { user } = good(await supabase.auth.linkIdentity({ provider: 'google', token: tokens.grace }))
  assert.equal(user.id, anonymous.id)
  assert.equal(user.is_anonymous, false)
  assert.equal(user.email, 'grace@example.com')
  const { error } = await supabase.auth.linkIdentity({ provider: 'google', token: tokens.grace })
  assert.equal(error.code, 'identity_already_exists')
})

await step('what the provider refuses is told in query and fragment', async () => {
  const supabase = client()
  const { url } = good(await supabase.auth.signInWithOAuth({ provider: 'google', options: browserOptions }))
  const asked = await fetch(url, { redirect: 'manual' })
  const back = new URL(asked.headers.get('location')).searchParams
  const callback = `${back.get('redirect_uri')}?state=${back.get('state')}&error=access_denied&error_description=No`
  const end = await browse(callback)
  assert.equal(end.searchParams.get('error'), 'access_denied')
  assert.equal(new URLSearchParams(end.hash.slice(1)).get('error_description'), 'No')
})

await step('admin.customProviders and a sign-in through one', async () => {
  const { customProviders } = service.auth.admin
  const issuer = process.env.FAKE_CUSTOM_URL
  const added = good(await customProviders.createProvider({
    provider_type: 'oidc',
    identifier: 'custom:partner',
    name: 'Partner',
    client_id: 'the-client',
    client_secret: 'the secret/+&',
    issuer,
    scopes: ['email']
  }))
  assert.equal(added.discovery_document.issuer, issuer)
  assert.equal(added.client_secret, undefined)
  const listed = good(await customProviders.listProviders())
  assert.deepEqual(listed.providers.map((provider) => provider.identifier), ['custom:partner'])
  assert.deepEqual(good(await customProviders.listProviders({ type: 'oauth2' })).providers, [])
  assert.equal(good(await customProviders.getProvider('custom:partner')).name, 'Partner')
  const supabase = pkceClient()
  const { url } = good(await supabase.auth.signInWithOAuth({ provider: 'custom:partner', options: browserOptions }))
  const end = await browse(url)
  const { user } = good(await supabase.auth.exchangeCodeForSession(end.searchParams.get('code')))
  assert.equal(user.app_metadata.provider, 'custom:partner')
  assert.equal(good(await customProviders.updateProvider('custom:partner', { name: 'New', enabled: false })).name, 'New')
  assert.equal((await customProviders.deleteProvider('custom:partner')).error, null)
  const { error } = await customProviders.getProvider('custom:partner')
  assert.equal(error.code, 'custom_provider_not_found')
  assert.equal(error.status, 404)
  const refused = await client().auth.admin.customProviders.listProviders()
  assert.equal(refused.error.code, 'not_admin')
})
