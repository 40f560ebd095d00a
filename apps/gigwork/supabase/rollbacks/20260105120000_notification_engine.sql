-- Undoes 20260105120000_notification_engine.sql. Devices of other providers than FCM stay the engine's; so do notifications.
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
comment on column public.device_tokens.token is 'As the push service gave it to the device.';
comment on column public.device_tokens.platform is 'android, ios or web.';
comment on column public.device_tokens.last_seen_at is 'When the app last registered it.';

create index device_tokens_user_id_idx on public.device_tokens (user_id);

create trigger device_tokens_touch_updated_at
before update on public.device_tokens
for each row execute function private.touch_updated_at();

alter table public.device_tokens enable row level security;

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

revoke all on public.device_tokens from anon, authenticated, service_role;
grant select, delete on public.device_tokens to authenticated;
grant insert (user_id, token, platform) on public.device_tokens to authenticated;
grant update (platform, last_seen_at) on public.device_tokens to authenticated;
grant select, insert, update, delete on public.device_tokens to service_role;

insert into public.device_tokens (user_id, token, platform, last_seen_at)
select c.user_id, c.address, coalesce(nullif(c.label, ''), 'android'), coalesce(c.last_used_at, c.created_at)
from public.notification_channels as c
join public.users as u on u.id = c.user_id
where c.channel = 'push' and c.provider = 'fcm' and c.is_enabled
    and coalesce(nullif(c.label, ''), 'android') in ('android', 'ios', 'web')
on conflict (token) do nothing;
delete from public.notification_channels as c
using public.device_tokens as d
where c.channel = 'push' and c.provider = 'fcm' and c.address = d.token;

drop trigger notifications_touch_updated_at on public.notifications;
alter table public.notifications drop column updated_at;

create or replace function public.register_device(p_token text, p_platform text)
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

create or replace function private.track(p_user_id uuid, p_event text, p_properties jsonb, p_key text)
returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- Only what people do: seeds and repairs by the owner are no events.
    if coalesce(current_setting('request.jwt.claims', true), '') = '' then
        return;
    end if;
    perform basalt.enqueue(
        'track-event',
        jsonb_build_object(
            'userId', p_user_id, 'event', p_event, 'properties', p_properties,
            'time', (extract(epoch from clock_timestamp()) * 1000)::bigint),
        queue => 'analytics',
        priority => 9,
        key => p_event || ':' || p_key);
exception
    when sqlstate 'PT429' then  -- nobody's shift waits for statistics
        raise warning 'event % was dropped: the queue of events is full', p_event;
end
$$;
