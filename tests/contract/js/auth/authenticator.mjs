// Authenticators in software, where Node has none: an app's codes (RFC 6238), and a WebAuthn key with attestation "none".

import { createHash, createHmac, generateKeyPairSync, randomBytes, sign } from 'node:crypto'

const origin = 'http://localhost:3000'
const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

// The six digits of now, or of some steps of thirty seconds away.
export function totp (secret, steps = 0) {
  let bits = ''
  for (const letter of secret) bits += alphabet.indexOf(letter).toString(2).padStart(5, '0')
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)))
  const counter = Buffer.alloc(8)
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30000) + steps))
  const digest = createHmac('sha1', key).update(counter).digest()
  const number = digest.readUInt32BE(digest[19] & 15) & 0x7fffffff
  return String(number % 1000000).padStart(6, '0')
}

// Made by `options` of the server as JSON; `create` and `get` give what a browser's credential gives as JSON.
export class SecurityKey {
  id = randomBytes(32)
  counter = 0

  create (options) {
    this.rpId = options.rp.id
    this.userHandle = options.user.id
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    this.privateKey = pair.privateKey
    const { x, y } = pair.publicKey.export({ format: 'jwk' })
    const key = Buffer.concat([
      Buffer.from('a5010203262001215820', 'hex'), Buffer.from(x, 'base64url'), // {1: 2, 3: -7, -1: 1, -2: x, -3: y}
      Buffer.from('225820', 'hex'), Buffer.from(y, 'base64url')
    ])
    const attested = Buffer.concat([Buffer.alloc(16), Buffer.from([0, this.id.length]), this.id, key])
    const data = Buffer.concat([this.#data(0x45), attested])
    const attestation = Buffer.concat([
      Buffer.from('a363666d74646e6f6e656761747453746d74a068617574684461746158', 'hex'), // {fmt: none, attStmt: {}, authData: …}
      Buffer.from([data.length]), data
    ])
    return this.#json({
      clientDataJSON: this.#clientData('webauthn.create', options.challenge).toString('base64url'),
      attestationObject: attestation.toString('base64url')
    })
  }

  get (options) {
    const clientData = this.#clientData('webauthn.get', options.challenge)
    const data = this.#data(0x05)
    const signed = Buffer.concat([data, createHash('sha256').update(clientData).digest()])
    return this.#json({
      clientDataJSON: clientData.toString('base64url'),
      authenticatorData: data.toString('base64url'),
      signature: sign('sha256', signed, this.privateKey).toString('base64url'),
      userHandle: this.userHandle
    })
  }

  #clientData (type, challenge) {
    return Buffer.from(JSON.stringify({ type, challenge, origin, crossOrigin: false }))
  }

  #data (flags) {
    const counter = Buffer.alloc(4)
    counter.writeUInt32BE(++this.counter)
    return Buffer.concat([createHash('sha256').update(this.rpId).digest(), Buffer.from([flags]), counter])
  }

  #json (response) {
    const id = this.id.toString('base64url')
    return { id, rawId: id, type: 'public-key', response, clientExtensionResults: {} }
  }
}
