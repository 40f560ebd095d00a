// One upload of SIZE bytes in one request through PROXY_URL, while the gateway is killed; the SHA-256 of what was sent.

import { createHash, randomBytes } from 'node:crypto'
import * as tus from 'tus-js-client'

const content = randomBytes(Number(process.env.SIZE))
const requests = []

await new Promise((resolve, reject) => {
  new tus.Upload(content, {
    endpoint: `${process.env.PROXY_URL}/storage/v1/upload/resumable`,
    retryDelays: Array(100).fill(200),
    headers: { authorization: `Bearer ${process.env.BASALT_SECRET_KEY}` },
    metadata: { bucketName: 'cargo', objectName: 'restart.bin' },
    onAfterResponse: (request, response) => {
      requests.push(`${request.getMethod()} ${response.getStatus()} ${response.getHeader('Upload-Offset') ?? ''}`.trim())
    },
    onError: reject,
    onSuccess: resolve
  }).start()
})
console.log(JSON.stringify({ sha256: createHash('sha256').update(content).digest('hex'), requests }))
