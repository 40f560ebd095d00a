-- The notifications inside the app.

create table public.notifications (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users (id) on delete cascade,
    kind text not null default 'general' check (kind ~ '^[a-z][a-z0-9_]{0,49}$'),
    title text not null check (char_length(title) between 1 and 200),
    body text not null default '' check (char_length(body) <= 2000),
    data jsonb not null default '{}' check (jsonb_typeof(data) = 'object'),
    source_id text not null default gen_random_uuid()::text check (char_length(source_id) between 1 and 200),
    read_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint notifications_told_once unique (user_id, kind, source_id)
);
comment on table public.notifications is 'What the app shows under the bell.';
comment on column public.notifications.kind is
    'purchase, renewal, renewal_due, subscription_ended, refund, low_credits, general, or a word of the operator.';
comment on column public.notifications.title is 'Up to 200 characters.';
comment on column public.notifications.body is 'Up to 2,000 characters.';
comment on column public.notifications.data is 'What the app needs to open the right page.';
comment on column public.notifications.source_id is 'What it is about: the same kind and source are told once.';
comment on column public.notifications.read_at is 'When the user read it; the one column that they write.';

create index notifications_user_id_created_at_idx on public.notifications (user_id, created_at desc);

create trigger notifications_touch_updated_at
before update on public.notifications
for each row execute function private.touch_updated_at();

alter table public.notifications enable row level security;

create policy "users view their own notifications"
on public.notifications for select to authenticated
using ((select auth.uid()) = user_id);

create policy "users mark their own notifications as read"
on public.notifications for update to authenticated
using ((select auth.uid()) = user_id)
with check ((select auth.uid()) = user_id);

revoke all on public.notifications from anon, authenticated, service_role;
grant select on public.notifications to authenticated;
grant update (read_at) on public.notifications to authenticated;
grant select, insert, update, delete on public.notifications to service_role;

create function private.tell(p_user_id uuid, p_kind text, p_source_id text, p_title text, p_body text, p_data jsonb)
returns void
language sql
security definer
set search_path = ''
as $$
    insert into public.notifications (user_id, kind, source_id, title, body, data)
    values (p_user_id, p_kind, p_source_id, p_title, p_body, p_data)
    on conflict on constraint notifications_told_once do nothing
$$;
comment on function private.tell(uuid, text, text, text, text, jsonb) is
    'Puts a notification under the bell of a user, once for each kind and source.';

revoke all on all routines in schema private from public;
