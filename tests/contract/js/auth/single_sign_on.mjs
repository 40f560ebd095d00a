// Single sign-on through unmodified supabase-js, followed to the end as a browser would: to the company's identity provider
// (IDP_URL), and back with the form that it gives.

import assert from 'node:assert/strict'
import { createClient } from '@supabase/supabase-js'
import { client, good, step } from '../steps.mjs'

const url = process.env.BASALT_URL
const secretKey = process.env.BASALT_SECRET_KEY
const state = {}

async function admin (method, path, body) {
  const answer = await fetch(`${url}/auth/v1/admin/sso/providers${path}`, {
    method,
    headers: { apikey: secretKey, authorization: `Bearer ${secretKey}`, 'content-type': 'application/json' },
    body: body && JSON.stringify(body)
  })
  return { status: answer.status, body: await answer.json() }
}

// Where the browser ends up that follows `address`.
async function follow (address) {
  const page = await (await fetch(address)).text()
  const action = page.match(/action="([^"]*)"/)[1]
  const fields = [...page.matchAll(/name="([^"]*)" value="([^"]*)"/g)].map(([, name, value]) => [name, value])
  const answer = await fetch(action, { method: 'POST', body: new URLSearchParams(fields), redirect: 'manual' })
  return { status: answer.status, location: new URL(answer.headers.get('location')) }
}

await step('an administrator adds the provider of a company', async () => {
  const { status, body } = await admin('POST', '', {
    type: 'saml',
    metadata_url: `${process.env.IDP_URL}/metadata`,
    domains: ['company.example'],
    attribute_mapping: { keys: { name: { name: 'displayName' } } }
  })
  assert.equal(status, 201)
  assert.deepEqual(body.domains, [{ domain: 'company.example' }])
  state.id = body.id
})

await step('somebody of the domain signs in and is sent back with a session', async () => {
  const supabase = client()
  const { url: begun } = good(await supabase.auth.signInWithSSO({
    domain: 'company.example',
    options: { redirectTo: 'https://app.example.com/home' }
  }))
  const { status, location } = await follow(begun)
  assert.equal(status, 302)
  assert.equal(location.origin + location.pathname, 'https://app.example.com/home')
  const values = new URLSearchParams(location.hash.slice(1))
  const tokens = { access_token: values.get('access_token'), refresh_token: values.get('refresh_token') }
  const { user } = good(await supabase.auth.setSession(tokens))
  assert.equal(user.email, 'ada@company.example')
  assert.equal(user.user_metadata.name, 'Ada Lovelace')
  assert.equal(user.app_metadata.provider, `sso:${state.id}`)
  assert.ok(good(await supabase.auth.refreshSession()).session)
  state.userId = user.id
})

await step('by the id of the provider and PKCE it is the same user', async () => {
  const values = new Map()
  const storage = {
    getItem: (key) => values.get(key) ?? null,
    setItem: (key, value) => { values.set(key, value) },
    removeItem: (key) => { values.delete(key) }
  }
  const supabase = createClient(url, process.env.BASALT_PUBLISHABLE_KEY, {
    auth: { flowType: 'pkce', persistSession: true, storage, autoRefreshToken: false, detectSessionInUrl: false }
  })
  const { url: begun } = good(await supabase.auth.signInWithSSO({ providerId: state.id }))
  const { location } = await follow(begun)
  assert.equal(location.hash, '')
  const { session } = good(await supabase.auth.exchangeCodeForSession(location.searchParams.get('code')))
  assert.equal(session.user.id, state.userId)
})

await step('an answer is good once', async () => {
  const { url: begun } = good(await client().auth.signInWithSSO({ domain: 'company.example' }))
  const page = await (await fetch(begun)).text()
  const fields = [...page.matchAll(/name="([^"]*)" value="([^"]*)"/g)].map(([, name, value]) => [name, value])
  const send = () => fetch(page.match(/action="([^"]*)"/)[1], { method: 'POST', body: new URLSearchParams(fields), redirect: 'manual' })
  assert.equal((await send()).status, 302)
  const again = await send()
  assert.equal(again.status, 303)
  assert.equal(new URL(again.headers.get('location')).searchParams.get('error_code'), 'saml_relay_state_not_found')
})

await step('a domain and a provider that nobody has are refused', async () => {
  const unknown = await client().auth.signInWithSSO({ domain: 'nobody.example' })
  assert.equal(unknown.data, null)
  assert.equal(unknown.error.name, 'AuthApiError')
  assert.equal(unknown.error.code, 'sso_provider_not_found')
  const { error } = await client().auth.signInWithSSO({ providerId: crypto.randomUUID() })
  assert.equal(error.status, 404)
})

await step('a provider that was switched off lets nobody in', async () => {
  assert.equal((await admin('PUT', `/${state.id}`, { disabled: true })).body.disabled, true)
  const { error } = await client().auth.signInWithSSO({ domain: 'company.example' })
  assert.equal(error.code, 'sso_provider_disabled')
  assert.equal((await admin('PUT', `/${state.id}`, { disabled: false })).status, 200)
})
