// Nothing is forgotten: whatever method a release of the builders brings must stand in one of the subjects.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { client, step } from './report.mjs'

// Private in TypeScript, or called by await.
const INNER = ['constructor', 'then', 'processResponse', 'cloneRequestState', 'decorateFetch']

const here = new URL('.', import.meta.url)
const subjects = readdirSync(here).filter((name) => name !== 'methods.mjs')
  .map((name) => readFileSync(new URL(name, here), 'utf8')).join('\n')

function methodsOf (object) {
  const prototype = Object.getPrototypeOf(object)
  if (prototype === Object.prototype || prototype === null) return []
  return [...Object.getOwnPropertyNames(prototype), ...methodsOf(prototype)].filter((name) => !INNER.includes(name))
}

await step('every method of the builders is used', () => {
  const rest = client().schema('public')
  const table = rest.from('sections')
  const all = new Set([...methodsOf(rest), ...methodsOf(table), ...methodsOf(table.select())])
  assert.ok(all.size > 50, [...all].join(', '))
  assert.deepEqual([...all].filter((name) => !subjects.includes(`.${name}(`)), [])
})
