// Every method about buckets in the documentation of supabase-js.

import assert from 'node:assert/strict'
import { bucket, client, good, member, service, step } from './shared.mjs'

const { storage } = service

await step('a bucket is made with all its settings', async () => {
  const id = `made-${Date.now()}`
  const made = good(await storage.createBucket(id, {
    public: true, allowedMimeTypes: ['image/png', 'text/*'], fileSizeLimit: '1MB'
  }))
  assert.deepEqual(made, { name: id })
  const found = good(await storage.getBucket(id))
  assert.equal(found.public, true)
  assert.equal(found.file_size_limit, 1000000)
  assert.deepEqual(found.allowed_mime_types, ['image/png', 'text/*'])
  const again = await storage.createBucket(id)
  assert.equal(again.data, null)
  assert.equal(again.error.name, 'StorageApiError')
  assert.equal(again.error.status, 400)
  assert.equal(again.error.statusCode, '409')
  assert.equal(again.error.message, 'The resource already exists')
})

await step('buckets are listed, searched and sorted', async () => {
  const ids = [await bucket('listed'), await bucket('listed')].sort()
  const found = good(await storage.listBuckets({ search: 'LISTED', sortColumn: 'name', sortOrder: 'desc', limit: 5, offset: 0 }))
  assert.deepEqual(found.map(({ name }) => name), ids.reverse())
  assert.ok(good(await storage.listBuckets()).length >= 3)
})

await step('a bucket is updated', async () => {
  const id = await bucket('updated')
  assert.deepEqual(good(await storage.updateBucket(id, { public: true, fileSizeLimit: 1024, allowedMimeTypes: null })),
    { message: 'Successfully updated' })
  const found = good(await storage.getBucket(id))
  assert.deepEqual([found.public, found.file_size_limit, found.allowed_mime_types], [true, 1024, null])
})

await step('a bucket is emptied and deleted', async () => {
  const id = await bucket('gone')
  good(await storage.from(id).upload('a.txt', 'x'))
  const full = await storage.deleteBucket(id)
  assert.equal(full.error.message, 'The bucket you tried to delete is not empty')
  assert.match(good(await storage.emptyBucket(id)).message, /^Empty bucket has been queued/)
  assert.deepEqual(good(await storage.deleteBucket(id)), { message: 'Successfully deleted' })
  const gone = await storage.getBucket(id)
  assert.equal(gone.error.message, 'Bucket not found')
  assert.equal(gone.error.statusCode, '404')
})

await step('buckets are seen as the policies say', async () => {
  const hidden = await bucket('own')
  const open = await bucket('open')
  assert.equal((await client().storage.getBucket(hidden)).error.message, 'Bucket not found')
  assert.equal(good(await member().storage.getBucket(open)).id, open)
  const refused = await member().storage.createBucket('mine')
  assert.equal(refused.error.message, 'new row violates row-level security policy')
  assert.equal((await member().storage.updateBucket(open, { public: true })).error.message, 'Bucket not found')
  assert.equal((await member().storage.deleteBucket(open)).error.message, 'Bucket not found')
})

await step('a cache in front is purged by the service role', async () => {
  const id = await bucket('cached')
  assert.deepEqual(good(await storage.purgeBucketCache(id)), { message: 'success' })
  assert.deepEqual(good(await storage.from(id).purgeCache('a.txt', { transformations: true })), { message: 'success' })
  assert.equal((await client().storage.purgeBucketCache(id)).error.status, 403)
})

await step('what is switched off says so', async () => {
  const id = await bucket('plain')
  for (const { error } of [
    await storage.getBucketLifecycle(id),
    await storage.updateBucketLifecycle(id, { rules: [] }),
    await storage.deleteBucketLifecycle(id)
  ]) assert.equal(error.message, 'The feature is not enabled for this project')
})
