-- Profiles: one row for each account, made and kept in step by triggers on auth.users.

create table public.users (
    id uuid primary key references auth.users (id) on delete cascade,
    phone text,
    email text,
    full_name text check (char_length(full_name) <= 200),
    avatar_url text check (char_length(avatar_url) <= 2000),
    skills text[] not null default '{}' check (cardinality(skills) <= 50),
    role text not null default 'worker' check (role in ('worker', 'employer')),
    total_points int not null default 0 check (total_points >= 0),
    level int not null generated always as (1 + floor(sqrt(total_points / 100.0))::int) stored,
    current_streak int not null default 0 check (current_streak >= 0),
    longest_streak int not null default 0 check (longest_streak >= current_streak),
    last_worked_on date,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table public.users is 'The profile of an account: who it is, and what it has earned.';
comment on column public.users.id is 'The account in auth.users.';
comment on column public.users.full_name is 
    'As its owner writes it. Employers see it of their applicants; everybody else a first name and an initial.';
comment on column public.users.avatar_url is 'A picture, wherever it is stored.';
comment on column public.users.skills is 'Free words, up to 50.';
comment on column public.users.longest_streak is 'The longest current_streak so far; streak achievements look at it.';
comment on column public.users.phone is 'Copied from auth.users; changed through Auth only.';
comment on column public.users.email is 'Copied from auth.users; changed through Auth only.';
comment on column public.users.role is 'worker or employer; set by the service role only.';
comment on column public.users.total_points is 'Always the sum of points_log for this user; written by its trigger only.';
comment on column public.users.level is 'Level n begins at 100 × (n - 1)² points: 0, 100, 400, 900, …';
comment on column public.users.current_streak is
    'Consecutive days worked up to last_worked_on. It is over once a whole day passes: get_user_stats answers 0 then.';
comment on column public.users.last_worked_on is 'The Asia/Singapore day on which the last completed shift began.';

create trigger users_touch_updated_at
before update on public.users
for each row execute function private.touch_updated_at();

create function private.create_profile()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into public.users (id, phone, email, full_name)
    values (
        new.id,
        nullif(new.phone, ''),
        nullif(new.email, ''),
        left(nullif(trim(new.raw_user_meta_data ->> 'full_name'), ''), 200)
    )
    on conflict (id) do nothing;
    return new;
end
$$;
comment on function private.create_profile() is
    'After a sign-up: the profile row. Takes nothing but a name from the metadata, which the client wrote.';

create function private.sync_profile_contact()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.users
    set phone = nullif(new.phone, ''),
        email = nullif(new.email, '')
    where id = new.id;
    return new;
end
$$;
comment on function private.sync_profile_contact() is 'After Auth changed a phone number or an address: the profile follows.';

create trigger create_profile
after insert on auth.users
for each row execute function private.create_profile();

create trigger sync_profile_contact
after update of phone, email on auth.users
for each row
when (old.phone is distinct from new.phone or old.email is distinct from new.email)
execute function private.sync_profile_contact();

-- Accounts that were there before this migration.
insert into public.users (id, phone, email)
select id, nullif(phone, ''), nullif(email, '') from auth.users
on conflict (id) do nothing;

alter table public.users enable row level security;

create policy "users view their own profile"
on public.users for select to authenticated
using ((select auth.uid()) = id);

create policy "users update their own profile"
on public.users for update to authenticated
using ((select auth.uid()) = id)
with check ((select auth.uid()) = id);

-- A policy cannot protect a column; grants do. Points, level, streaks and role have no writer among the API's roles
-- but the service role for role; even that one cannot break "sum of the log = balance".
revoke all on public.users from anon, authenticated, service_role;
grant select on public.users to authenticated, service_role;
grant update (full_name, avatar_url, skills) on public.users to authenticated;
grant update (full_name, avatar_url, skills, role) on public.users to service_role;

revoke all on all routines in schema private from public;
