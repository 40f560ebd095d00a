// Wallet sign-in through unmodified supabase-js: an Ethereum wallet that signs elsewhere (SIGNER_URL), and a Solana one made of
// Node's Ed25519.

import assert from 'node:assert/strict'
import { generateKeyPairSync, sign } from 'node:crypto'
import { client, good, step } from '../steps.mjs'

const url = 'https://app.example.com/login'
const ethereum = {
  sent: [],
  async request (call) {
    const answer = await fetch(process.env.SIGNER_URL, { method: 'POST', body: JSON.stringify(call) })
    const result = await answer.json()
    if (call.method === 'personal_sign') this.sent.push({ message: Buffer.from(call.params[0].slice(2), 'hex').toString(), signature: result })
    return result
  }
}

const base58 = (bytes) => {
  const letters = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
  let number = BigInt('0x' + Buffer.from(bytes).toString('hex'))
  let text = ''
  for (; number > 0n; number /= 58n) text = letters[Number(number % 58n)] + text
  return '1'.repeat(bytes.findIndex((byte) => byte !== 0)) + text
}
const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const address = base58(publicKey.export({ format: 'der', type: 'spki' }).subarray(-32))
const solana = {
  publicKey: { toBase58: () => address },
  signMessage: async (bytes) => new Uint8Array(sign(null, bytes, privateKey))
}
const modern = {
  signIn: async ({ domain, uri, issuedAt, statement }) => {
    const text = `${domain} wants you to sign in with your Solana account:\n${address}\n\n${statement}\n\nURI: ${uri}\nVersion: 1\nIssued At: ${issuedAt}`
    const signedMessage = new TextEncoder().encode(text)
    return { signedMessage, signature: new Uint8Array(sign(null, signedMessage, privateKey)) }
  }
}
const state = {}

await step('an Ethereum wallet signs in', async () => {
  const supabase = client()
  const { session, user } = good(await supabase.auth.signInWithWeb3({
    chain: 'ethereum',
    wallet: ethereum,
    statement: 'Sign in to Example',
    options: { url, signInWithEthereum: { nonce: 'abcdefgh', resources: ['https://app.example.com/terms'] } }
  }))
  assert.ok(session.access_token)
  assert.equal(user.identities[0].provider, 'web3')
  assert.equal(user.user_metadata.custom_claims.chain, 'ethereum')
  assert.equal(user.user_metadata.custom_claims.statement, 'Sign in to Example')
  assert.equal(good(await supabase.auth.getUser()).user.id, user.id)
  state.id = user.id
})

await step('the same wallet is the same user', async () => {
  const { user } = good(await client().auth.signInWithWeb3({ chain: 'ethereum', wallet: ethereum, options: { url } }))
  assert.equal(user.id, state.id)
})

await step('a message that was seen signs nobody in again', async () => {
  const { data, error } = await client().auth.signInWithWeb3({ chain: 'ethereum', ...ethereum.sent[0] })
  assert.equal(data.session, null)
  assert.equal(error.name, 'AuthApiError')
  assert.equal(error.status, 400)
  assert.equal(error.message, 'Signed Ethereum message has been used already')
})

await step('a message for another site is refused', async () => {
  const { error } = await client().auth.signInWithWeb3({ chain: 'ethereum', wallet: ethereum, options: { url: 'https://evil.example/' } })
  assert.equal(error.name, 'AuthApiError')
  assert.match(error.message, /signed for another app/)
})

await step('a Solana wallet that signs messages signs in', async () => {
  const { user } = good(await client().auth.signInWithWeb3({
    chain: 'solana',
    wallet: solana,
    statement: 'Hello',
    options: { url, signInWithSolana: { chainId: 'solana:devnet', resources: ['https://app.example.com/terms'] } }
  }))
  assert.equal(user.identities[0].id, `web3:solana:${address}`)
  assert.equal(user.user_metadata.custom_claims.network, 'solana:devnet')
  state.solanaId = user.id
})

await step('a Solana wallet with signIn signs in', async () => {
  const { user } = good(await client().auth.signInWithWeb3({ chain: 'solana', wallet: modern, statement: 'Hello', options: { url } }))
  assert.equal(user.id, state.solanaId)
})

await step('a chain that is not known is refused', async () => {
  await assert.rejects(client().auth.signInWithWeb3({ chain: 'bitcoin' }), /Unsupported chain/)
})
