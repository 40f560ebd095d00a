-- Profiles: one row for each account, made and kept in step by triggers on auth.users.

create table public.users (
    id uuid primary key references auth.users (id) on delete cascade,
    email text,
    display_name text check (char_length(display_name) <= 200),
    avatar_url text check (char_length(avatar_url) <= 2000),
    credits int not null default 0 constraint users_credits_not_negative check (credits >= 0),
    plan_id text not null references public.plans (id),
    plan_renews_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table public.users is 'The profile of an account: who it is, its plan and its credits.';
comment on column public.users.id is 'The account in auth.users.';
comment on column public.users.email is 'Copied from auth.users; changed through Auth only.';
comment on column public.users.display_name is 'As its owner writes it.';
comment on column public.users.avatar_url is 'A picture, wherever it is stored.';
comment on column public.users.credits is 'Always the sum of credit_log for this user; written by its trigger only.';
comment on column public.users.plan_id is 'Of the subscription that is active, else the default plan.';
comment on column public.users.plan_renews_at is 'When what is paid for ends; null without a subscription.';

create index users_plan_id_idx on public.users (plan_id);

create trigger users_touch_updated_at
before update on public.users
for each row execute function private.touch_updated_at();

create function private.default_plan()
returns text
language sql
stable
set search_path = ''
as $$
    select id from public.plans where is_default
$$;
comment on function private.default_plan() is 'The plan of accounts without a subscription.';

create function private.create_profile()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into public.users (id, email, display_name, plan_id)
    values (
        new.id,
        nullif(new.email, ''),
        left(nullif(trim(new.raw_user_meta_data ->> 'display_name'), ''), 200),
        private.default_plan()
    )
    on conflict (id) do nothing;
    return new;
end
$$;
comment on function private.create_profile() is
    'After a sign-up: the profile row. Takes nothing but a name from the metadata, which the client wrote.';

create function private.sync_profile_email()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.users set email = nullif(new.email, '') where id = new.id;
    return new;
end
$$;
comment on function private.sync_profile_email() is 'After Auth changed an address: the profile follows.';

create trigger create_profile
after insert on auth.users
for each row execute function private.create_profile();

create trigger sync_profile_email
after update of email on auth.users
for each row when (old.email is distinct from new.email)
execute function private.sync_profile_email();

-- Accounts that were there before this migration.
insert into public.users (id, email, plan_id)
select id, nullif(email, ''), private.default_plan() from auth.users
on conflict (id) do nothing;

alter table public.users enable row level security;

create policy "users view their own profile"
on public.users for select to authenticated
using ((select auth.uid()) = id);

create policy "users update their own profile"
on public.users for update to authenticated
using ((select auth.uid()) = id)
with check ((select auth.uid()) = id);

-- A policy cannot protect a column; grants do. Credits and plan have no writer among the API's roles, the service role
-- included: nobody can break "sum of the log = balance".
revoke all on public.users from anon, authenticated, service_role;
grant select on public.users to authenticated, service_role;
grant update (display_name, avatar_url) on public.users to authenticated, service_role;

revoke all on all routines in schema private from public;
