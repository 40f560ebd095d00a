// Nothing is forgotten: whatever method a release of the client brings must stand in one of the scripts about accounts.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { member, step } from './members.mjs'

// Private in TypeScript.
const INNER = ['constructor', 'isThrowOnErrorEnabled', 'linkIdentityOAuth', 'linkIdentityIdToken', 'signInWithEthereum', 'signInWithSolana', 'fetchJwk', 'logger', 'fetch']

const here = new URL('.', import.meta.url)
// What needs a browser's authenticator is called in one.
const browser = '../../../auth/test_browser_ceremony.py'
const scripts = [...readdirSync(here).filter((name) => name.endsWith('.mjs') && name !== 'methods.mjs'), browser]
  .map((name) => readFileSync(new URL(name, here), 'utf8')).join('\n')

function methodsOf (object) {
  const prototype = Object.getPrototypeOf(object)
  const own = Object.getOwnPropertyNames(object).filter((name) => typeof object[name] === 'function')
  const inherited = prototype === Object.prototype || prototype === null ? [] : methodsOf(prototype)
  return [...own, ...inherited].filter((name) => !name.startsWith('_') && !INNER.includes(name))
}

function methodsIn (path, object) {
  const nested = Object.getOwnPropertyNames(object)
    .filter((name) => ['admin', 'mfa', 'oauth', 'passkey', 'webauthn', 'customProviders'].includes(name) && object[name])
    .flatMap((name) => methodsIn(`${path}${name}.`, object[name]))
  return [...methodsOf(object).map((name) => `${path}${name}`), ...nested]
}

await step('every method of the client is used', () => {
  const all = [...new Set(methodsIn('', member().auth))]
  assert.ok(all.length > 60, all.join(', '))
  const isUsed = (path) => scripts.includes(`.${path.split('.').at(-1)}(`)
  assert.deepEqual(all.filter((path) => !isUsed(path)), [])
})
