// Every method about files in the documentation of supabase-js.

import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { bucket, client, good, member, service, step } from './shared.mjs'

const own = await bucket('own')
const shop = await bucket('open', { public: true })
const user = member()
const files = user.storage.from(own)
const path = (name) => `${user.id}/${name}`
const text = async (blob) => await blob.text()

await step('a file is uploaded from every kind of body', async () => {
  const bytes = new TextEncoder().encode('hello')
  const form = new FormData()
  form.append('file', new Blob(['hello'], { type: 'text/plain' }))
  const bodies = {
    blob: new Blob(['hello'], { type: 'text/plain' }),
    file: new File(['hello'], 'a.txt', { type: 'text/plain' }),
    form,
    buffer: Buffer.from('hello'),
    array: bytes.buffer,
    view: bytes,
    string: 'hello',
    stream: new Blob(['hello']).stream(),
    node: Readable.from(['hel', 'lo'])
  }
  for (const [name, body] of Object.entries(bodies)) {
    const options = ['stream', 'node'].includes(name) ? { duplex: 'half', contentType: 'text/plain' } : { contentType: 'text/plain' }
    const data = good(await files.upload(path(name), body, options))
    assert.equal(data.path, path(name))
    assert.equal(data.fullPath, `${own}/${path(name)}`)
    assert.match(data.id, /^[0-9a-f-]{36}$/)
    assert.equal(await text(good(await files.download(path(name)))), 'hello', name)
  }
})

await step('options of an upload are kept', async () => {
  good(await files.upload(path('options'), 'hello', {
    cacheControl: '60', contentType: 'text/css', metadata: { a: 'b', nested: { c: [1] } }
  }))
  const info = good(await files.info(path('options')))
  assert.equal(info.cacheControl, 'max-age=60')
  assert.equal(info.contentType, 'text/css')
  assert.deepEqual(info.metadata, { a: 'b', nested: { c: [1] } })
  good(await files.upload(path('options-blob'), new Blob(['hello']), { cacheControl: '60', metadata: { a: 1 } }))
  const other = good(await files.info(path('options-blob')))
  assert.deepEqual([other.cacheControl, other.metadata], ['max-age=60', { a: 1 }])
})

await step('an existing file needs upsert or update', async () => {
  good(await files.upload(path('twice'), 'one'))
  const { error } = await files.upload(path('twice'), 'two')
  assert.equal(error.message, 'The resource already exists')
  assert.equal(error.statusCode, '409')
  good(await files.upload(path('twice'), 'two', { upsert: true }))
  assert.equal(await text(good(await files.download(path('twice')))), 'two')
  good(await files.update(path('twice'), 'three', { contentType: 'text/plain' }))
  assert.equal(await text(good(await files.download(path('twice')))), 'three')
})

await step('a download can be a stream and can be stopped', async () => {
  const stream = good(await files.download(path('blob')).asStream())
  let whole = ''
  for await (const chunk of stream) whole += new TextDecoder().decode(chunk)
  assert.equal(whole, 'hello')
  const stopped = new AbortController()
  stopped.abort()
  const { error } = await files.download(path('blob'), {}, { signal: stopped.signal })
  assert.ok(error)
  const missing = await files.download(path('nosuch'))
  assert.equal(missing.error.name, 'StorageApiError')
  assert.equal(missing.error.message, 'Object not found')
})

await step('what is there can be asked', async () => {
  assert.equal(good(await files.exists(path('blob'))), true)
  const missing = await files.exists(path('nosuch'))
  assert.equal(missing.data, false)
  const info = good(await files.info(path('blob')))
  assert.equal(info.size, 5)
  assert.equal(info.bucketId, own)
  assert.equal(info.etag, '"5d41402abc4b2a76b9719d911017c592"')
})

await step('files are listed', async () => {
  for (const name of ['dir/a.txt', 'dir/b.txt', 'dir/sub/c.txt', 'dir/sub2/d.txt']) good(await files.upload(path(name), name))
  const level = good(await files.list(path('dir')))
  assert.deepEqual(level.map(({ name }) => name), ['a.txt', 'b.txt', 'sub', 'sub2'])
  assert.equal(level[2].id, null)
  assert.equal(level[0].metadata.size, 9)
  const page = good(await files.list(path('dir'), { limit: 2, offset: 1, sortBy: { column: 'name', order: 'desc' } }))
  assert.deepEqual(page.map(({ name }) => name), ['sub', 'b.txt'])
  assert.deepEqual(good(await files.list(path('dir'), { search: 'B' })).map(({ name }) => name), ['b.txt'])
  assert.deepEqual(good(await client().storage.from(own).list(user.id)), [])
})

await step('files are listed page by page', async () => {
  const seen = []
  let cursor
  do {
    const page = good(await files.listV2({ prefix: path('dir/'), limit: 2, cursor, with_delimiter: false }))
    seen.push(...page.objects.map(({ name }) => name))
    cursor = page.hasNext ? page.nextCursor : undefined
  } while (cursor)
  assert.deepEqual(seen, ['a.txt', 'b.txt', 'sub/c.txt', 'sub2/d.txt'].map((name) => path(`dir/${name}`)))
  const level = good(await files.listV2({ prefix: path('dir/'), with_delimiter: true, sortBy: { column: 'name', order: 'desc' } }))
  assert.deepEqual(level.folders.map(({ name }) => name), [path('dir/sub2/'), path('dir/sub/')])
  assert.deepEqual(level.objects.map(({ name }) => name), [path('dir/b.txt'), path('dir/a.txt')])
  assert.equal(level.hasNext, false)
})

await step('files are copied and moved, also between buckets', async () => {
  assert.deepEqual(good(await files.copy(path('blob'), path('copied'))), { path: `${own}/${path('copied')}` })
  good(await files.copy(path('blob'), `${user.id}.txt`, { destinationBucket: shop }))
  assert.equal(await text(good(await client().storage.from(shop).download(`${user.id}.txt`))), 'hello')
  assert.deepEqual(good(await files.move(path('copied'), path('moved'))), { message: 'Successfully moved' })
  assert.equal(await text(good(await files.download(path('moved')))), 'hello')
  good(await files.move(path('moved'), 'moved.txt', { destinationBucket: shop }))
  const taken = await files.move(path('blob'), path('twice'))
  assert.equal(taken.error.message, 'The resource already exists')
})

await step('a signed URL opens a private file', async () => {
  const { signedUrl } = good(await files.createSignedUrl(path('blob'), 60))
  assert.equal(await (await fetch(signedUrl)).text(), 'hello')
  const named = good(await files.createSignedUrl(path('blob'), 60, { download: 'my file.txt', cacheNonce: 'n' }))
  const answer = await fetch(named.signedUrl)
  assert.match(answer.headers.get('content-disposition'), /^attachment; filename=my%20file.txt;/)
  const many = good(await files.createSignedUrls([path('blob'), path('nosuch')], 60, { download: true }))
  assert.equal(many[0].error, null)
  assert.equal(await (await fetch(many[0].signedUrl)).text(), 'hello')
  assert.equal(many[1].error, 'Either the object does not exist or you do not have access to it')
  const stranger = await member().storage.from(own).createSignedUrl(path('blob'), 60)
  assert.equal(stranger.error.message, 'Object not found')
})

await step('a signed upload URL lets anyone upload one file', async () => {
  const { token, path: signedPath, signedUrl } = good(await files.createSignedUploadUrl(path('signed')))
  assert.match(signedUrl, /\/object\/upload\/sign\//)
  const data = good(await client().storage.from(own).uploadToSignedUrl(signedPath, token, 'hello', { contentType: 'text/plain' }))
  assert.equal(data.path, path('signed'))
  assert.equal(await text(good(await files.download(path('signed')))), 'hello')
  const again = await client().storage.from(own).uploadToSignedUrl(signedPath, token, new Blob(['x']))
  assert.equal(again.error.message, 'The resource already exists')
  const upsert = good(await files.createSignedUploadUrl(path('signed'), { upsert: true }))
  good(await client().storage.from(own).uploadToSignedUrl(upsert.path, upsert.token, new Blob(['new'])))
  assert.equal(await text(good(await files.download(path('signed')))), 'new')
})

await step('a public URL is open to all', async () => {
  good(await user.storage.from(shop).upload(`${user.id}/ä b.png`.replace('ä', 'a'), 'picture', { contentType: 'image/png' }))
  const { data } = user.storage.from(shop).getPublicUrl(`${user.id}/a b.png`, { download: true, cacheNonce: '1' })
  const answer = await fetch(data.publicUrl)
  assert.equal(await answer.text(), 'picture')
  assert.equal(answer.headers.get('content-disposition'), 'attachment;')
  const hidden = await fetch(files.getPublicUrl(path('blob')).data.publicUrl)
  assert.equal(hidden.status, 400)
})

await step('files are removed', async () => {
  const gone = good(await files.remove([path('twice'), path('nosuch')]))
  assert.deepEqual(gone.map(({ name }) => name), [path('twice')])
  assert.deepEqual(good(await member().storage.from(own).remove([path('blob')])), [])
  const version = good(await files.info(path('blob'))).version
  assert.deepEqual(good(await files.remove([{ path: path('blob'), versionId: 'other' }])), [])
  assert.equal(good(await files.remove([{ path: path('blob'), versionId: version }])).length, 1)
})

await step('others get nothing', async () => {
  const stranger = member().storage.from(own)
  const refused = await stranger.upload(path('evil'), 'x')
  assert.equal(refused.error.message, 'new row violates row-level security policy')
  assert.equal(refused.error.statusCode, '403')
  assert.equal((await stranger.download(path('view'))).error.message, 'Object not found')
  assert.equal((await stranger.update(path('view'), 'x')).error.message, 'new row violates row-level security policy')
  const nameless = await files.upload(path('ü'), 'x')
  assert.equal(nameless.error.message, `Invalid key: ${path('ü')}`)
})

await step('an error is thrown where that was asked for', async () => {
  await assert.rejects(service.storage.from('nosuch').throwOnError().upload('a', 'x'), { message: 'Bucket not found' })
  assert.equal(service.storage.from(own).setHeader('x-upsert', 'true').headers['x-upsert'], 'true')
})

await step('a file is encoded for safe transport', async () => {
  assert.equal(files.toBase64('hello'), 'aGVsbG8=')
})
