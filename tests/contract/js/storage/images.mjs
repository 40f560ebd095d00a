// Images transformed on their way out, through supabase-js.

import assert from 'node:assert/strict'
import { bucket, good, member, step } from './shared.mjs'

const user = member()
const own = await bucket('own')
const shop = await bucket('open', { public: true })
const photo = Buffer.from(process.env.BASALT_PHOTO, 'base64')

await step('a public image is resized by its URL', async () => {
  good(await user.storage.from(shop).upload('photo.png', photo, { contentType: 'image/png' }))
  const { data } = user.storage.from(shop).getPublicUrl('photo.png', {
    transform: { width: 20, height: 10, resize: 'contain', quality: 50, format: 'origin' }
  })
  const answer = await fetch(data.publicUrl)
  assert.equal(answer.status, 200)
  assert.equal(answer.headers.get('content-type'), 'image/png')
  assert.equal(answer.headers.get('x-transformations'), 'height:10,width:20,resizing_type:fit,quality:50')
})

await step('a private image is resized for whom the policies let', async () => {
  const files = user.storage.from(own)
  good(await files.upload(`${user.id}/photo.png`, photo, { contentType: 'image/png' }))
  const small = good(await files.download(`${user.id}/photo.png`, { transform: { width: 20 } }))
  assert.ok(small.size > 0 && small.size !== photo.length)
  const stranger = await member().storage.from(own).download(`${user.id}/photo.png`, { transform: { width: 20 } })
  assert.equal(stranger.error.message, 'Object not found')
})

await step('a signed URL carries its transformation', async () => {
  const files = user.storage.from(own)
  const { signedUrl } = good(await files.createSignedUrl(`${user.id}/photo.png`, 60, {
    transform: { width: 20, height: 20, resize: 'fill', format: 'origin' }
  }))
  assert.match(signedUrl, /\/render\/image\/sign\//)
  const answer = await fetch(`${signedUrl}&width=1000`)
  assert.equal(answer.headers.get('x-transformations'), 'height:20,width:20,resizing_type:force')
})

await step('a wrong parameter is named', async () => {
  const { error } = await user.storage.from(shop).download('photo.png', { transform: { width: 20, quality: 5 } })
  assert.equal(error.message, 'querystring/quality must be >= 20')
})
