// What the steps of an app's journeys are typed by, beside the `database.ts` that `basalt gen types` prints; tests/journeys.py
// puts both next to them. The types of Node.js are not installed: what the journeys use of it is at the end.

import type { SupabaseClient } from '@supabase/supabase-js'
import type { Database, Json } from './database.js'

export type Client = SupabaseClient<Database>

type IsAny<T> = 0 extends 1 & T ? true : false

/** What supabase-js says where a select names a column or a relation that is not there; never where all are. */
export type Misnamed<T, Depth extends unknown[] = []> =
  IsAny<T> extends true ? never : [T] extends [null] ? never
    : [Json] extends [T] ? never
      : Depth['length'] extends 4 ? never
        : T extends { error: true } & infer Message extends string ? Message
          : T extends readonly (infer Row)[] ? Misnamed<Row, [...Depth, 1]>
            : T extends object ? { [Key in keyof T]-?: Misnamed<T[Key], [...Depth, 1]> }[keyof T] : never

/** An answer of supabase-js to a question that can be asked. */
export type Answer<T> = { data: T, error: unknown } & ([Misnamed<T>] extends [never] ? unknown : { misnamed: Misnamed<T> })

/** The data of an answer without an error, where JSON may be anything. */
export type Known<T> = [Json] extends [T] ? any : T

declare global {
  const process: { env: { [name: string]: string }, exitCode: number, exit: (code?: number) => never }
}
