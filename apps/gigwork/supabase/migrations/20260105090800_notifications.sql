-- Devices and the notifications inside the app.

create table public.device_tokens (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null default auth.uid() references public.users (id) on delete cascade,
    token text not null unique check (char_length(token) between 1 and 4096),
    platform text not null check (platform in ('android', 'ios', 'web')),
    last_seen_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table public.device_tokens is 'Push addresses. A token belongs to whoever signed in last on that device.';

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
comment on table public.notifications is 'What the app shows under the bell.';
comment on column public.device_tokens.token is 'As the push service gave it to the device.';
comment on column public.device_tokens.platform is 'android, ios or web.';
comment on column public.device_tokens.last_seen_at is 'When the app last registered it.';
comment on column public.notifications.kind is 'A lower-case word by which the app chooses icon and target.';
comment on column public.notifications.title is 'Up to 200 characters.';
comment on column public.notifications.body is 'Up to 2,000 characters.';
comment on column public.notifications.data is 'What the app needs to open the right page.';
comment on column public.notifications.read_at is 'When the user read it; the one column that they write.';

create index device_tokens_user_id_idx on public.device_tokens (user_id);
create index notifications_user_id_created_at_idx on public.notifications (user_id, created_at desc);

create trigger device_tokens_touch_updated_at
before update on public.device_tokens
for each row execute function private.touch_updated_at();

create trigger notifications_touch_updated_at
before update on public.notifications
for each row execute function private.touch_updated_at();

alter table public.device_tokens enable row level security;
alter table public.notifications enable row level security;

create policy "users view their own devices"
on public.device_tokens for select to authenticated
using ((select auth.uid()) = user_id);

create policy "users add their own devices"
on public.device_tokens for insert to authenticated
with check ((select auth.uid()) = user_id);

create policy "users change their own devices"
on public.device_tokens for update to authenticated
using ((select auth.uid()) = user_id)
with check ((select auth.uid()) = user_id);

create policy "users remove their own devices"
on public.device_tokens for delete to authenticated
using ((select auth.uid()) = user_id);

create policy "users view their own notifications"
on public.notifications for select to authenticated
using ((select auth.uid()) = user_id);

create policy "users mark their own notifications as read"
on public.notifications for update to authenticated
using ((select auth.uid()) = user_id)
with check ((select auth.uid()) = user_id);

revoke all on public.device_tokens, public.notifications from anon, authenticated, service_role;
grant select, delete on public.device_tokens to authenticated;
grant insert (user_id, token, platform) on public.device_tokens to authenticated;
grant update (platform, last_seen_at) on public.device_tokens to authenticated;
grant select on public.notifications to authenticated;
grant update (read_at) on public.notifications to authenticated;
grant select, insert, update, delete on public.device_tokens, public.notifications to service_role;

create function public.register_device(p_token text, p_platform text)
returns uuid
language plpgsql
security definer
set search_path = ''
as $$
declare
    v_user_id constant uuid := private.require_user();
    v_id uuid;
begin
    if p_token is null or char_length(p_token) not between 1 and 4096
        or p_platform is null or p_platform not in ('android', 'ios', 'web') then
        perform private.fail('VALIDATION_ERROR', 400, 'A device has a token, and its platform is android, ios or web');
    end if;
    insert into public.device_tokens (user_id, token, platform)
    values (v_user_id, p_token, p_platform)
    on conflict (token) do update
    set user_id = excluded.user_id,
        platform = excluded.platform,
        last_seen_at = now()
    returning id into v_id;
    return v_id;
end
$$;
comment on function public.register_device(text, text) is
    'Registers the caller''s device; a token that another account left behind on it changes hands.';

revoke all on function public.register_device(text, text) from public, anon;
grant execute on function public.register_device(text, text) to authenticated, service_role;

revoke all on all routines in schema private from public;
