// One call by supabase-js with a request id of the caller's own, and what it answered: `node traced.mjs ITEM URL ID`.

import { createClient } from '@supabase/supabase-js'

const [item, url, id, traceparent] = process.argv.slice(2)
const headers = { 'x-request-id': id, ...(traceparent ? { traceparent } : {}) }
const client = createClient(process.env.BASALT_URL, process.env.BASALT_SECRET_KEY, {
  auth: { persistSession: false, autoRefreshToken: false },
  global: {
    headers,
    fetch: async (...given) => {
      const answer = await fetch(...given)
      console.log(JSON.stringify({ returned: answer.headers.get('x-request-id') }))
      return answer
    }
  }
})
const { data, error } = await client.rpc('place_order', { item, url })
console.log(JSON.stringify({ data, error }))
