-- The table that the migrations made before the notification engine had one.
create table public.notifications (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users (id) on delete cascade,
    kind text not null default 'general' check (kind ~ '^[a-z][a-z0-9_]{0,49}$'),
    title text not null check (char_length(title) between 1 and 200),
    body text not null default '' check (char_length(body) <= 2000),
    data jsonb not null default '{}' check (jsonb_typeof(data) = 'object'),
    read_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
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
alter publication supabase_realtime add table public.notifications;
