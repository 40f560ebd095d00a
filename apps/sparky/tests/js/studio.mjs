// A photo's way through unmodified supabase-js: document 002, sections 6 to 8. The picture comes from tests/test_journey.py.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { client, good, service, step, subscribe, until } from './_steps.mjs'

if (!process.env.PORTRAIT) {
  console.log('1..0 # SKIP no picture: run tests/test_journey.py')
  process.exit(0)
}

const customer = client()
const address = `studio-${Date.now()}@example.com`
const balances = []
const state = {}

const run = (name, toolId, toolParameters = {}) => customer.functions.invoke(name, {
  body: { toolId, toolParameters, originalImageStoragePath: state.path }
})

await step('somebody with ten credits uploads a photo', async () => {
  const password = 'correct horse battery'
  const { user } = good(await service.auth.admin.createUser({ email: address, password, email_confirm: true }))
  good(await customer.auth.signInWithPassword({ email: address, password }))
  state.path = `${user.id}/photo.png`
  const photo = await readFile(process.env.PORTRAIT)
  good(await customer.storage.from('user_uploads').upload(state.path, photo, { contentType: 'image/png' }))
  const own = /** @type {const} */ ({ schema: 'public', table: 'users', event: 'UPDATE', filter: `id=eq.${user.id}` })
  await subscribe(customer.channel('credits').on('postgres_changes', own, ({ new: row }) => balances.push(row.credits)))
})

await step('hair is dyed, and the picture is there for everybody who has its address', async () => {
  state.made = good(await run('process-image', 'hair_color', { color_id: 'copper' }))
  assert.equal(state.made.model, 'local-preview')
  assert.equal(state.made.credits_left, 8)
  const picture = await fetch(state.made.url)
  assert.equal(picture.status, 200)
  assert.equal(picture.headers.get('content-type'), 'image/png')
  assert.equal(customer.storage.from('generations').getPublicUrl(state.made.path).data.publicUrl, state.made.url)
})

await step('the balance is pushed', async () => {
  await until(() => balances.includes(8), 'the new balance')
})

await step('the same again costs nothing', async () => {
  const again = good(await run('process-image', 'hair_color', { color_id: 'copper', strength: 0.7 }))
  assert.equal(again.cached, true)
  assert.equal(again.credits_used, 0)
  assert.equal(again.url, state.made.url)
})

await step('an analysis is JSON', async () => {
  const { analysis, credits_left: left } = good(await run('analyze-face', 'skin_tone'))
  assert.match(analysis.palette[0].hex, /^#[0-9a-f]{6}$/)
  assert.equal(left, 7)
})

await step('what is refused has its code', async () => {
  const { error } = await run('process-image', 'enhance', { strength: 7 })
  const told = await error.context.json()
  assert.equal(error.context.status, 400)
  assert.equal(told.error.code, 'VALIDATION_ERROR')
  assert.equal(told.error.details[0].path, 'toolParameters.strength')
})

await step('the gallery shows both, and one of them goes', async () => {
  const shown = good(await customer.from('generations').select('id, tool_id, result_path').order('created_at'))
  assert.deepEqual(shown.map((row) => row.tool_id), ['hair_color', 'skin_tone'])
  const signed = good(await customer.storage.from('generations').createSignedUrl(shown[0].result_path, 60))
  assert.equal((await fetch(signed.signedUrl)).status, 200)
  const body = { generationId: shown[0].id }
  assert.deepEqual(good(await customer.functions.invoke('delete-generation', { body })), { deleted: true })
  assert.equal((await fetch(signed.signedUrl)).status, 400)
  assert.equal(good(await customer.from('generations').select('id')).length, 1)
})

// Sockets that close keep Node alive for ten seconds.
process.exit(0)
