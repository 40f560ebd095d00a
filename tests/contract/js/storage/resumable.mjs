// Resumable uploads with unmodified tus-js-client, as the Supabase documentation shows them. PROXY_URL leads to the same server over
// connections that are cut after some megabytes, and MEMBERS are access tokens with their user's id.

import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import * as tus from 'tus-js-client'
import { good, service, step } from '../steps.mjs'

const url = process.env.BASALT_URL
const proxyUrl = process.env.PROXY_URL
const secretKey = process.env.BASALT_SECRET_KEY
const [ada, bob] = JSON.parse(process.env.MEMBERS)
const folder = await mkdtemp(join(tmpdir(), 'tus-'))
const MiB = 1024 * 1024
const retryDelays = Array(40).fill(50)

// What became of an upload: the error, or undefined, and the requests that it took. onChunkComplete is given the upload.
function upload (name, content, { base = url, path = '', token, headers, metadata, onChunkComplete, ...options } = {}) {
  const requests = []
  let transfer
  const ended = new Promise((resolve) => {
    transfer = new tus.Upload(content, {
      endpoint: `${base}/storage/v1/upload/resumable${path}`,
      chunkSize: 6 * MiB,
      retryDelays,
      headers: path ? headers : { authorization: `Bearer ${token ?? secretKey}`, apikey: secretKey, ...headers },
      metadata: { bucketName: 'cargo', objectName: name, contentType: 'application/x-test', cacheControl: '3600', ...metadata },
      onAfterResponse: (request, response) => { requests.push(`${request.getMethod()} ${response.getStatus()}`) },
      onError: (error) => resolve({ error, transfer, requests }),
      onSuccess: () => resolve({ transfer, requests }),
      onChunkComplete: onChunkComplete && (() => onChunkComplete(transfer)),
      ...options
    })
  })
  transfer.start()
  return ended
}

async function check (name, content) {
  const stored = Buffer.from(await good(await service.storage.from('cargo').download(name)).arrayBuffer())
  const digest = (bytes) => createHash('sha256').update(bytes).digest('hex')
  assert.equal(digest(stored), digest(content))
}

function refused ({ error }) {
  const response = error?.originalResponse
  return [response?.getStatus(), response?.getBody()]
}

const once = { retryDelays: null }

await step('a file in pieces', async () => {
  const content = randomBytes(13 * MiB)
  const metadata = { metadata: JSON.stringify({ from: 'tus' }) }
  const { error, requests, transfer } = await upload('pieces.bin', content, { metadata })
  assert.equal(error, undefined)
  assert.deepEqual(requests, ['POST 201', 'PATCH 204', 'PATCH 204', 'PATCH 204'])
  assert.ok(transfer.url.startsWith(`${url}/storage/v1/upload/resumable/`))
  await check('pieces.bin', content)
  const info = good(await service.storage.from('cargo').info('pieces.bin'))
  assert.equal(info.contentType, 'application/x-test')
  assert.equal(info.cacheControl, 'max-age=3600')
  assert.deepEqual(info.metadata, { from: 'tus' })
})

await step('a file over connections that break', async () => {
  const content = randomBytes(12 * MiB)
  const { error, requests, transfer } = await upload('broken.bin', content, { base: proxyUrl })
  assert.equal(error, undefined)
  assert.ok(requests.filter((request) => request === 'HEAD 200').length >= 3, String(requests))
  assert.ok(transfer.url.startsWith(`${proxyUrl}/storage/v1/upload/resumable/`))
  await check('broken.bin', content)
})

await step('an upload that was left and is found again', async () => {
  const content = randomBytes(9 * MiB)
  const path = join(folder, 'again.bin')
  await writeFile(path, content)
  const urlStorage = new tus.FileUrlStorage(join(folder, 'urls.json'))
  const options = { urlStorage, chunkSize: 3 * MiB }
  await new Promise((resolve) => {
    const onChunkComplete = (transfer) => transfer.abort().then(resolve)
    upload('again.bin', createReadStream(path), { ...options, onChunkComplete })
  })
  const later = new tus.Upload(createReadStream(path), { endpoint: `${url}/storage/v1/upload/resumable`, urlStorage })
  const [previous] = await later.findPreviousUploads()
  const { error, requests } = await upload('again.bin', createReadStream(path), { ...options, uploadUrl: previous.uploadUrl })
  assert.equal(error, undefined)
  assert.deepEqual(requests, ['HEAD 200', 'PATCH 204', 'PATCH 204'])
  await check('again.bin', content)
})

await step('the first bytes with the creation', async () => {
  const content = randomBytes(MiB)
  const { error, requests } = await upload('creation.bin', content, { uploadDataDuringCreation: true })
  assert.equal(error, undefined)
  assert.deepEqual(requests, ['POST 201'])
  await check('creation.bin', content)
})

await step('a length that is known at the end', async () => {
  const content = randomBytes(5 * MiB)
  const options = { uploadLengthDeferred: true, chunkSize: 2 * MiB }
  const { error } = await upload('late.bin', Readable.from([content], { objectMode: false }), options)
  assert.equal(error, undefined)
  await check('late.bin', content)
})

await step('an empty file', async () => {
  const { error } = await upload('empty.bin', Buffer.alloc(0))
  assert.equal(error, undefined)
  await check('empty.bin', Buffer.alloc(0))
})

await step('an upload that is given up', async () => {
  const given = await new Promise((resolve) => {
    const onChunkComplete = (transfer) => transfer.abort(true).then(() => resolve(transfer.url))
    upload('given-up.bin', randomBytes(4 * MiB), { chunkSize: MiB, onChunkComplete })
  })
  const headers = { authorization: `Bearer ${secretKey}`, 'tus-resumable': '1.0.0' }
  assert.equal((await fetch(given, { method: 'HEAD', headers })).status, 404)
  assert.equal((await service.storage.from('cargo').info('given-up.bin')).error.statusCode, '404')
})

await step('x-upsert', async () => {
  const [before, after] = [randomBytes(1000), randomBytes(1000)]
  assert.equal((await upload('twice.bin', before)).error, undefined)
  assert.deepEqual(refused(await upload('twice.bin', after, once)), [409, 'The resource already exists'])
  await check('twice.bin', before)
  assert.equal((await upload('twice.bin', after, { headers: { 'x-upsert': 'true' } })).error, undefined)
  await check('twice.bin', after)
})

await step('a folder of one\'s own', async () => {
  const content = randomBytes(1000)
  assert.equal((await upload(`${ada.id}/mine.bin`, content, { token: ada.token })).error, undefined)
  await check(`${ada.id}/mine.bin`, content)
  const denied = [403, 'new row violates row-level security policy']
  assert.deepEqual(refused(await upload(`${ada.id}/hers.bin`, content, { token: bob.token, ...once })), denied)
})

await step('a signed URL', async () => {
  const content = randomBytes(7 * MiB)
  const { token } = good(await service.storage.from('cargo').createSignedUploadUrl('signed.bin'))
  const { error, transfer } = await upload('signed.bin', content, { path: '/sign', headers: { 'x-signature': token } })
  assert.equal(error, undefined)
  assert.ok(transfer.url.startsWith(`${url}/storage/v1/upload/resumable/sign/`))
  await check('signed.bin', content)
  const other = await upload('other.bin', content, { path: '/sign', headers: { 'x-signature': token }, ...once })
  assert.deepEqual(refused(other), [400, 'Invalid signature'])
})

await step('what is refused', async () => {
  const content = randomBytes(10)
  const bucket = await upload('a', content, { metadata: { bucketName: 'nosuch' }, ...once })
  assert.deepEqual(refused(bucket), [404, 'Bucket not found'])
  assert.deepEqual(refused(await upload('../a', content, once)), [400, 'Invalid key: ../a'])
  const large = await upload('a', content, { uploadSize: 251 * MiB, ...once })
  assert.deepEqual(refused(large), [413, 'Maximum size exceeded'])
  const parallel = await upload('a', content, { parallelUploads: 2, ...once })
  assert.deepEqual(refused(parallel), [400, 'The concatenation extension is not offered'])
})

await rm(folder, { recursive: true })
