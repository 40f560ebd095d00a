-- Notifications and devices are the notification engine's from here on: its tables are in `public` before the migrations
-- ([notify] enabled = true). Events for Mixpanel are the built-in job `basalt.track`.

-- A database from before has a table `notifications` of the app's own, to which the engine has added what it needs.
do $$
begin
    if exists (
        select from pg_catalog.pg_attribute
        where attrelid = 'public.notifications'::regclass and attname = 'kind' and not attisdropped
    ) then
        drop policy "users view their own notifications" on public.notifications;
        drop policy "users mark their own notifications as read" on public.notifications;
        drop trigger notifications_touch_updated_at on public.notifications;
        -- The engine's titles may be empty and its texts longer.
        alter table public.notifications
            drop constraint if exists notifications_title_check,
            drop constraint if exists notifications_body_check,
            drop constraint if exists notifications_user_id_fkey;
        update public.notifications set type = kind where type is null;
        alter table public.notifications
            drop column kind,
            alter column title set default '',
            add constraint notifications_user_id_fkey foreign key (user_id) references auth.users (id) on delete cascade;
        grant select, delete on public.notifications to authenticated;
        grant update (read_at, archived_at) on public.notifications to authenticated;
    end if;
end
$$;

-- As every table of the app, it has both times; the one from before has them already.
alter table public.notifications add column if not exists updated_at timestamptz not null default now();
comment on column public.notifications.updated_at is 'When it was made, read or archived.';

create trigger notifications_touch_updated_at
before update on public.notifications
for each row execute function private.touch_updated_at();

insert into public.notification_channels (user_id, channel, provider, address, label, last_used_at)
select user_id, 'push', 'fcm', token, platform, last_seen_at
from public.device_tokens
where octet_length(token) <= 2048  -- no token of FCM is longer
on conflict do nothing;

drop table public.device_tokens;

create or replace function public.register_device(p_token text, p_platform text)
returns uuid
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform private.require_user();
    if p_token is null or octet_length(p_token) not between 1 and 2048
        or p_platform is null or p_platform not in ('android', 'ios', 'web') then
        perform private.fail('VALIDATION_ERROR', 400, 'A device has a token, and its platform is android, ios or web');
    end if;
    return public.register_notification_channel('push', p_token, provider => 'fcm', label => p_platform);
end
$$;
comment on function public.register_device(text, text) is
    'Registers the caller''s device, with its FCM token, in notification_channels; a token that another account left behind on '
    'it changes hands. register_notification_channel does the same for other providers.';

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
        'basalt.track',
        jsonb_build_object(
            'event', p_event, 'distinct_id', p_user_id, 'properties', p_properties,
            'time', (extract(epoch from clock_timestamp()) * 1000)::bigint),
        queue => 'analytics',
        priority => 9,
        key => p_event || ':' || p_key);
exception
    when sqlstate 'PT429' then  -- nobody's shift waits for statistics
        raise warning 'event % was dropped: the queue of events is full', p_event;
end
$$;
