// A program that is right, and lines that are wrong: each `@ts-expect-error` fails the compiler where the next line
// is no error.
import { createClient } from '@supabase/supabase-js'
import { Constants, type CompositeTypes, type Database, type Enums, type Json, type Tables, type TablesInsert,
  type TablesUpdate } from './database.js'

const supabase = createClient<Database>('http://127.0.0.1:1', 'key')
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
const sure = <T extends true>(_?: T) => {}

// Rows
sure<Same<Tables<'people'>['name'], string>>()
sure<Same<Tables<'people'>['email'], string>>()
sure<Same<Tables<'people'>['second_email'], string | null>>()
sure<Same<Tables<'people'>['moods'], Enums<'mood'>[] | null>>()
sure<Same<Tables<'people'>['favourites'], Enums<'mood'>[]>>()
sure<Same<Tables<'people'>['homes'], CompositeTypes<'address'>[]>>()
sure<Same<Tables<'people'>['secret'], 'x' | 'y' | null>>()
sure<Same<Tables<'people'>['document'], Json | null>>()
sure<Same<Tables<'people'>['span'], unknown>>()
sure<Same<Tables<'people'>['list'], string[] | null>>()
sure<Same<Tables<'people'>['Ünïcode "quoted"'], string | null>>()
sure<Same<Tables<'people'>['initial'], string | null>>()
sure<Same<Tables<'happy_people'>['loud'], string | null>>()
sure<Same<Tables<'odd-table'>, { '1st': number; select: 'a-b' | null }>>()
sure<Same<Tables<{ schema: 'api' }, 'people'>, { friend: number | null; id: number; mood: Enums<'mood'> | null }>>()
sure<Same<CompositeTypes<'address'>, { street: string | null; moods: Enums<'mood'>[] | null }>>()
sure<Same<(typeof Constants)['public']['Enums']['mood'], readonly ['sad', 'it\'s "ok"', 'happy']>>()
// @ts-expect-error no such table
type NoTable = Tables<'parts_a'>

// Writes
const person: TablesInsert<'people'> = { name: 'Ada', email: 'ada@example.com', mood: 'sad', number: 7 }
// @ts-expect-error name is required
const nameless: TablesInsert<'people'> = { email: 'a@b' }
// @ts-expect-error the identity is always the database's
const identified: TablesInsert<'people'> = { name: 'Ada', email: 'a@b', id: 1 }
// @ts-expect-error so is a generated column
const loud: TablesUpdate<'people'> = { shout: 'ADA' }
// @ts-expect-error no such mood
const angry: TablesUpdate<'people'> = { mood: 'angry' }
// @ts-expect-error not null
const empty: TablesUpdate<'people'> = { score: null }
const renamed: TablesUpdate<'people'> = { name: 'Ada', second_email: null, 'user-id': 'x' }
await supabase.from('people').insert(person)
await supabase.from('people').update(renamed).eq('id', 1)
await supabase.from('happy_people').insert({ name: 'Eve' })
// @ts-expect-error an expression cannot be written
await supabase.from('happy_people').insert({ loud: 'EVE' })
// @ts-expect-error neither can a view that groups
await supabase.from('mood_counts').insert({ people: 1 })
// @ts-expect-error nor a materialized one
await supabase.from('names').insert({ id: 1 })

// Embedding follows the relationships
const { data: profiles } = await supabase.from('profiles').select('bio, people!profiles_person_id_fkey(name)')
const bio: string | null = profiles![0]!.bio
const owner: string = profiles![0]!.people.name
// one-to-one from the other side, too: an object, not a list
const { data: people } = await supabase.from('people').select('name, profiles!profiles_person_id_fkey(bio)')
const own: string | null | undefined = people![0]!.profiles?.bio
// one-to-many is a list
const { data: hosts } = await supabase.from('people').select('profiles!profiles_invited_by_fkey(bio)')
const guests: { bio: string | null }[] = hosts![0]!.profiles
const { data: trios } = await supabase.from('trios').select('id, pairs(a, b)')
const a: number | undefined = trios![0]!.pairs?.a
// computed relationships
const { data: friendly } = await supabase.from('people').select('name, friends(name), best_friend(name)')
const friends: { name: string }[] = friendly![0]!.friends
const best: string | undefined = friendly![0]!.best_friend?.name
// through a view
const { data: seen } = await supabase.from('profiles').select('happy_people!profiles_person_id_fkey(loud)')
const shout: string | null | undefined = seen![0]!.happy_people?.loud

// Routines
const { data: found } = await supabase.rpc('find_people', { p_mood: 'sad' }).select('name')
const first: string = found![0]!.name
// @ts-expect-error p_mood is required
await supabase.rpc('find_people', { p_limit: 1 })
// @ts-expect-error there is no such mood
await supabase.rpc('find_people', { p_mood: 'angry' })
sure<Same<Database['public']['Functions']['find_people']['Args'],
  { p_limit?: number; p_mood: Enums<'mood'>; p_names?: string[] }>>()
const { data: one } = await supabase.rpc('one_person', { p_id: 1 })
const its: string = one!.name
const { data: summary } = await supabase.rpc('summary')
const counted: { mood: Enums<'mood'>; people: number }[] = summary!
const { data: bounds } = await supabase.rpc('bounds')
const highest: number = bounds!.highest
const { data: series } = await supabase.rpc('series', { p_to: 3 })
const numbers: number[] = series!
const { data: nothing } = await supabase.rpc('nobody')
sure<Same<typeof nothing, undefined | null>>()
const { data: text } = await supabase.rpc('overloaded', { p_a: 1, p_b: 'x' })
const joined: string = text!
const { data: number } = await supabase.rpc('overloaded', { p_a: 1 })
const plain: number = number!
type Overloads = Database['public']['Functions']['overloaded']
sure<Same<Overloads['Returns'], number | string>>()
const { data: home } = await supabase.rpc('home_of', { p_id: 1 })
const street: string | null = home!.street
// @ts-expect-error two arguments without names cannot be called
await supabase.rpc('positional', { a: 1, b: 2 })

// Another schema
const { data: others } = await supabase.schema('api').from('people').select('id, mood').single()
const mood: Enums<'mood'> | null = others!.mood
