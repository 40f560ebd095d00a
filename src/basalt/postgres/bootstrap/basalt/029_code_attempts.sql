-- Wrong tries at one-time codes: GoTrue's tables have no place to count them.

create table if not exists basalt.code_attempts (
    user_id uuid not null references auth.users (id) on delete cascade,
    token_type text not null,
    attempts integer not null default 0,
    counted_at timestamptz not null default now(),
    primary key (user_id, token_type)
);

comment on table basalt.code_attempts is 'Wrong tries at an outstanding one-time code; too many end the code.';

grant select, insert, update, delete on basalt.code_attempts to supabase_auth_admin;
