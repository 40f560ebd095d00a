// A project as OAuth server, through unmodified supabase-js: clients of an administrator, the page of consent, grants of a user.

import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { client, good, service, step } from '../steps.mjs'

const url = `${process.env.BASALT_URL}/auth/v1`
const redirectUri = 'https://diary.example.com/callback'
const { oauth: clients } = service.auth.admin
const user = client()
const state = {}

// What an application does itself: a browser sent to the server, and the code exchanged behind its back.
async function authorize (app, scope) {
  const verifier = randomBytes(48).toString('base64url')
  const challenge = createHash('sha256').update(verifier).digest('base64url')
  const query = new URLSearchParams({
    client_id: app.client_id,
    redirect_uri: redirectUri,
    response_type: 'code',
    scope,
    state: 'abc',
    code_challenge: challenge,
    code_challenge_method: 'S256'
  })
  const answer = await fetch(`${url}/oauth/authorize?${query}`, { redirect: 'manual' })
  assert.equal(answer.status, 302)
  return { verifier, id: new URL(answer.headers.get('location')).searchParams.get('authorization_id') }
}

async function exchange (app, fields) {
  const answer = await fetch(`${url}/oauth/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(`${app.client_id}:${app.client_secret}`)}` },
    body: new URLSearchParams(fields)
  })
  return { status: answer.status, body: await answer.json() }
}

function refused ({ data, error }, status, code) {
  assert.equal(error?.name, 'AuthApiError', JSON.stringify(error))
  assert.deepEqual([error.status, error.code], [status, code])
  return data
}

await step('an administrator registers clients and sees their secrets once', async () => {
  const made = good(await clients.createClient({ client_name: 'Diary', redirect_uris: [redirectUri], client_uri: 'https://diary.example.com' }))
  assert.equal(made.client_type, 'confidential')
  assert.equal(made.registration_type, 'manual')
  assert.equal(made.client_secret.length, 43)
  const shown = good(await clients.getClient(made.client_id))
  assert.equal(shown.client_name, 'Diary')
  assert.equal(shown.client_secret, undefined)
  state.app = made
})

await step('a client that cannot keep a secret has none', async () => {
  const made = good(await clients.createClient({ client_name: 'Tool', redirect_uris: ['http://127.0.0.1/cb'], token_endpoint_auth_method: 'none' }))
  assert.equal(made.client_type, 'public')
  assert.equal(made.client_secret, undefined)
  state.tool = made
  refused(await clients.regenerateClientSecret(made.client_id), 400, 'validation_failed')
})

await step('clients are listed by pages', async () => {
  const all = good(await clients.listClients())
  assert.deepEqual(all.clients.map((each) => each.client_name), ['Tool', 'Diary'])
  const first = good(await clients.listClients({ page: 1, perPage: 1 }))
  assert.deepEqual(first.clients.map((each) => each.client_name), ['Tool'])
  assert.deepEqual([first.nextPage, first.lastPage, first.total], [2, 2, 2])
})

await step('a client is changed', async () => {
  const changed = good(await clients.updateClient(state.app.client_id, { client_name: 'My diary' }))
  assert.equal(changed.client_name, 'My diary')
  assert.deepEqual(changed.redirect_uris, [redirectUri])
  refused(await clients.updateClient(state.app.client_id, { redirect_uris: ['http://example.com/'] }), 400, 'validation_failed')
})

await step('a new secret replaces the old one', async () => {
  const { client_secret: secret } = good(await clients.regenerateClientSecret(state.app.client_id))
  const old = await exchange(state.app, { grant_type: 'refresh_token', refresh_token: 'aaaabbbbcccc' })
  assert.deepEqual([old.status, old.body.error], [401, 'invalid_client'])
  state.app.client_secret = secret
})

await step('nobody else manages clients', async () => {
  refused(await client().auth.admin.oauth.listClients(), 403, 'not_admin')
})

await step('without a session there is nothing to consent to', async () => {
  const { error } = await client().auth.oauth.getAuthorizationDetails('abc')
  assert.equal(error.name, 'AuthSessionMissingError')
})

await step('a signed-in user sees who asks for what', async () => {
  good(await user.auth.signUp({ email: 'ada@example.com', password: 'correct horse' }))
  const asked = await authorize(state.app, 'openid email')
  const details = good(await user.auth.oauth.getAuthorizationDetails(asked.id))
  assert.equal(details.authorization_id, asked.id)
  assert.equal(details.client.id, state.app.client_id)
  assert.equal(details.client.name, 'My diary')
  assert.equal(details.client.uri, 'https://diary.example.com')
  assert.equal(details.redirect_uri, redirectUri)
  assert.equal(details.user.email, 'ada@example.com')
  assert.equal(details.scope, 'openid email')
  state.asked = asked
})

await step('a request that is not there is told', async () => {
  refused(await user.auth.oauth.getAuthorizationDetails('nothing'), 404, 'oauth_authorization_not_found')
  refused(await user.auth.oauth.approveAuthorization('nothing'), 404, 'oauth_authorization_not_found')
})

await step('an approved client gets tokens for its user', async () => {
  const { redirect_url: back } = good(await user.auth.oauth.approveAuthorization(state.asked.id))
  const answer = new URL(back)
  assert.equal(answer.origin + answer.pathname, redirectUri)
  assert.equal(answer.searchParams.get('state'), 'abc')
  const code = answer.searchParams.get('code')
  const { status, body } = await exchange(state.app, { grant_type: 'authorization_code', code, code_verifier: state.asked.verifier })
  assert.equal(status, 200, JSON.stringify(body))
  const { claims } = good(await user.auth.getClaims(body.access_token))
  assert.equal(claims.client_id, state.app.client_id)
  assert.equal(good(await client().auth.getUser(body.access_token)).user.email, 'ada@example.com')
  state.issued = body
})

await step('supabase-js itself cannot refresh the session of a client', async () => {
  const { error } = await client().auth.refreshSession({ refresh_token: state.issued.refresh_token })
  assert.equal(error.name, 'AuthApiError')
  assert.equal(error.status, 400)
  assert.equal(error.message, 'Client authentication required for OAuth session')
  const { status, body } = await exchange(state.app, { grant_type: 'refresh_token', refresh_token: state.issued.refresh_token })
  assert.equal(status, 200)
  state.issued = body
})

await step('who consented before is not asked again', async () => {
  const asked = await authorize(state.app, 'email')
  const details = good(await user.auth.oauth.getAuthorizationDetails(asked.id))
  assert.deepEqual(Object.keys(details), ['redirect_url'])
  refused(await user.auth.oauth.approveAuthorization(asked.id), 400, 'validation_failed')
})

await step('a user may say no', async () => {
  const asked = await authorize(state.app, 'phone')
  good(await user.auth.oauth.getAuthorizationDetails(asked.id))
  const { redirect_url: back } = good(await user.auth.oauth.denyAuthorization(asked.id))
  assert.equal(new URL(back).searchParams.get('error'), 'access_denied')
})

await step('grants are listed and revoked', async () => {
  const [grant] = good(await user.auth.oauth.listGrants())
  assert.equal(grant.client.name, 'My diary')
  assert.deepEqual(grant.scopes, ['openid', 'email'])
  assert.ok(Date.parse(grant.granted_at) > Date.now() - 60_000)
  good(await user.auth.oauth.revokeGrant({ clientId: state.app.client_id }))
  assert.deepEqual(good(await user.auth.oauth.listGrants()), [])
  refused(await user.auth.oauth.revokeGrant({ clientId: state.app.client_id }), 404, 'oauth_consent_not_found')
  const { error } = await client().auth.getUser(state.issued.access_token)
  assert.equal(error.name, 'AuthSessionMissingError')
  assert.equal((await user.auth.getUser()).error, null)
})

await step('a deleted client is gone', async () => {
  const { data, error } = await clients.deleteClient(state.tool.client_id)
  assert.deepEqual([data, error], [null, null])
  refused(await clients.getClient(state.tool.client_id), 404, 'oauth_client_not_found')
  refused(await clients.deleteClient(state.tool.client_id), 404, 'oauth_client_not_found')
})
