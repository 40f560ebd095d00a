// Nothing is forgotten: whatever method a release of the client brings must stand in one of the scripts about Storage.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { service, step } from './shared.mjs'

// Private in TypeScript, or of every object.
const INNER = [
  'constructor', 'uploadOrUpdate', 'prepareUploadFormData', 'applyTransformOptsToQuery', 'encodeMetadata', 'handleOperation',
  'listBucketOptionsToQueryString', 'bucketLifecycleUrl'
]

const here = new URL('.', import.meta.url)
const scripts = readdirSync(here).filter((name) => name !== 'methods.mjs')
  .map((name) => readFileSync(new URL(name, here), 'utf8')).join('\n')

function methodsOf (object) {
  const prototype = Object.getPrototypeOf(object)
  if (prototype === Object.prototype || prototype === null) return []
  const own = Object.entries(Object.getOwnPropertyDescriptors(prototype))
    .filter(([name, { value }]) => typeof value === 'function' && !name.startsWith('_') && !INNER.includes(name))
  return [...own.map(([name]) => name), ...methodsOf(prototype)]
}

await step('every method of the storage client is used', () => {
  const all = new Set([service.storage, service.storage.from('any')].flatMap(methodsOf))
  assert.ok(all.size > 25, [...all].join(', '))
  assert.deepEqual([...all].filter((name) => !scripts.includes(`.${name}(`)), [])
})
