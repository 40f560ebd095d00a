// Nothing is forgotten: whatever method a release of the client brings must stand in one of the scripts about Realtime.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { postgresChangesFilter } from '@supabase/supabase-js'
import { finish, member, step } from './members.mjs'

// Private in TypeScript, or of every object; `build()` is what `on()` calls.
const INNER = ['constructor', 'add', 'toString']

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

await step('every method of clients, channels, presence and filters is used', () => {
  const { realtime } = member()
  const channel = realtime.channel('methods')
  const all = new Set([realtime, channel, channel.presence, postgresChangesFilter()].flatMap(methodsOf))
  assert.ok(all.size > 40, [...all].join(', '))
  assert.deepEqual([...all].filter((name) => !scripts.includes(`.${name}(`)), [])
})

await step('every way to Realtime that the whole client offers is used', () => {
  const ways = methodsOf(member()).filter((name) => /channel/i.test(name))
  assert.deepEqual(ways.sort(), ['channel', 'getChannels', 'removeAllChannels', 'removeChannel'])
  assert.deepEqual(ways.filter((name) => !scripts.includes(`.${name}(`)), [])
})

await finish()
