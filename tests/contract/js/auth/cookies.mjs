// What @supabase/ssr makes of cookies: `node cookies.mjs read` tells the session behind the `Cookie` header of standard input,
// `node cookies.mjs sign-in` signs a user in and prints what it would set, as it would set it.

import { readFileSync } from 'node:fs'
import { createServerClient, parseCookieHeader, serializeCookieHeader } from '@supabase/ssr'

const { cookie, email, password } = JSON.parse(readFileSync(0, 'utf8'))
const set = []
const supabase = createServerClient(process.env.BASALT_URL, process.env.BASALT_PUBLISHABLE_KEY, {
  cookies: {
    getAll: () => parseCookieHeader(cookie),
    setAll: (cookies) => { set.push(...cookies.map(({ name, value, options }) => serializeCookieHeader(name, value, options))) }
  }
})

if (process.argv[2] === 'sign-in') {
  const { error } = await supabase.auth.signInWithPassword({ email, password })
  answer({ set, error })
} else {
  const { data: { session } } = await supabase.auth.getSession()
  const { data: { user } } = await supabase.auth.getUser()
  answer({ session: session && { ...session, user: { ...session.user } }, user, set })
}

function answer (value) {
  process.stdout.write(JSON.stringify(value), () => process.exit(0))
}
