// pg-boss's side of `bench.jobs`: `node jobs_pgboss.mjs URL COMMAND`, with the commands of jobs_procrastinate.py.
// Notifications, batches and its burst mode are on: what its documentation offers for many short jobs.
import { PgBoss } from 'pg-boss'

const [url, command, ...words] = process.argv.slice(2)
const numbers = words.map(Number)
const BATCH = 500
const QUEUE = 'bench'
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000))

const boss = new PgBoss({ connectionString: url, max: 16, useListenNotify: command === 'work' })
boss.on('error', (error) => console.error(String(error)))
await boss.start()

if (command === 'install') {
  await boss.createQueue(QUEUE, { notify: true })
} else if (command === 'batch') {
  for (let made = 0; made < numbers[0]; made += BATCH) {
    await boss.insert(QUEUE, Array.from({ length: BATCH }, () => ({ data: {} })))
  }
} else if (command === 'trickle') {
  for (let made = 0; made < numbers[0]; made += 1) {
    await boss.send(QUEUE, { at: Date.now() })
    await sleep(numbers[1])
  }
} else {
  const waits = []
  const options = { batchSize: 64, localConcurrency: 4, perJobResults: true, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 }
  await boss.work(QUEUE, options, async (jobs) => {
    for (const job of jobs) if (job.data?.at) waits.push(Date.now() - job.data.at)
    return jobs.map((job) => ({ id: job.id, status: 'completed' }))
  })
  process.on('SIGTERM', async () => {
    await boss.stop({ graceful: true, timeout: 5000 })
    console.log(JSON.stringify(waits))
    process.exit(0)
  })
  console.log('ready')
  await new Promise(() => {})
}
await boss.stop({ graceful: false })
process.exit(0)
