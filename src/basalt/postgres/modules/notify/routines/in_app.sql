-- What a person's app calls: counts, read receipts, the archive, devices. All of it as the caller, on the caller's own rows.
select pg_temp.become_owner();

create or replace function public.unread_notification_counts()
returns table (channel text, unread bigint)
language sql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
    select n.channel, count(*)
    from public.notifications as n
    where n.user_id = auth.uid() and n.read_at is null and n.archived_at is null
        and (n.expires_at is null or n.expires_at > now())
    group by n.channel
    order by n.channel
$$;

comment on function public.unread_notification_counts() is 'How many of the caller''s notifications are unread, by channel.';

create or replace function public.mark_notifications_read(ids uuid[] default null, up_to timestamptz default null)
returns bigint
language sql
security invoker
set search_path = pg_catalog, pg_temp
as $$
    with marked as (
        update public.notifications as n set read_at = now()
        where n.user_id = auth.uid() and n.read_at is null
            and (ids is null or n.id = any (ids)) and (up_to is null or n.created_at <= up_to)
        returning n.id)
    select count(*) from marked
$$;

comment on function public.mark_notifications_read(uuid[], timestamptz) is
    'Marks the caller''s notifications as read: these, those up to an instant, or all. How many were unread.';

create or replace function public.archive_notifications(ids uuid[] default null, up_to timestamptz default null)
returns bigint
language sql
security invoker
set search_path = pg_catalog, pg_temp
as $$
    with archived as (
        update public.notifications as n set archived_at = now()
        where n.user_id = auth.uid() and n.archived_at is null
            and (ids is null or n.id = any (ids)) and (up_to is null or n.created_at <= up_to)
        returning n.id)
    select count(*) from archived
$$;

comment on function public.archive_notifications(uuid[], timestamptz) is
    'Puts away the caller''s notifications: these, those up to an instant, or all. How many.';

-- The caller's app has opened the message. A person may not write deliveries, so that this is done as the owner, for the caller.
create or replace function public.mark_queue_item_read(queue_id bigint)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    item record;
begin
    select q.id, q.event_id, q.user_id into item from public.notification_queue as q
    where q.id = mark_queue_item_read.queue_id and q.user_id = auth.uid();
    if not found then
        raise exception 'There is no message % for you', mark_queue_item_read.queue_id using errcode = 'PT404';
    end if;
    update public.notification_deliveries as d
    set opened_at = coalesce(d.opened_at, now()), delivered_at = coalesce(d.delivered_at, now()),
        status = case when d.status in ('accepted', 'delivered', 'unknown') then 'opened' else d.status end
    where d.id = (
        select l.id from public.notification_deliveries as l
        where l.queue_id = item.id and l.status in ('accepted', 'delivered', 'opened', 'clicked', 'unknown')
        order by l.id desc limit 1);
    update public.notification_queue as q set status = 'delivered' where q.id = item.id and q.status = 'sent';
    update public.notifications as n set read_at = now()
    where n.read_at is null and n.user_id = item.user_id and (n.queue_id = item.id or n.event_id = item.event_id);
    return true;
end
$$;

comment on function public.mark_queue_item_read(bigint) is
    'A read receipt: the caller has opened this message, so that its delivery is opened and what the app shows of the same '
    'event is read.';

create or replace function public.register_notification_channel(
    channel text, address text, provider text default null, label text default null)
returns uuid
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    caller_id uuid := auth.uid();
    wanted public.notification_channels;
begin
    if caller_id is null then
        raise exception 'Only a signed-in user has channels' using errcode = '42501';
    end if;
    if register_notification_channel.channel not in ('email', 'push', 'sms') then
        raise exception 'channel is email, push or sms, not %', left(register_notification_channel.channel, 100)
            using errcode = 'PT400';
    end if;
    if (register_notification_channel.channel = 'push') <> (register_notification_channel.provider is not null)
        or register_notification_channel.provider not in ('fcm', 'apns', 'expo', 'onesignal', 'webpush') then
        raise exception 'provider is fcm, apns, expo, onesignal or webpush for push, and left out for other channels'
            using errcode = 'PT400';
    end if;
    if coalesce(octet_length(register_notification_channel.address), 0) not between 1 and 2048 then
        raise exception 'address has 1 to 2048 bytes' using errcode = 'PT400';
    end if;
    if length(register_notification_channel.label) > 200 then
        raise exception 'label has 200 characters at most' using errcode = 'PT400';
    end if;
    wanted.address := basalt.normalize_notification_address(
        register_notification_channel.channel, register_notification_channel.provider, register_notification_channel.address);
    if register_notification_channel.channel = 'push' then
        -- The device now is the caller's. Who had it is not told of the next owner's messages. Who come at once take turns.
        perform pg_advisory_xact_lock(
            hashtextextended(concat_ws('/', register_notification_channel.provider, wanted.address), 21));
        delete from public.notification_channels as c
        where c.channel = 'push' and c.provider = register_notification_channel.provider and c.address = wanted.address
            and c.user_id <> caller_id;
    end if;
    insert into public.notification_channels as c (user_id, channel, provider, address, label, registered_at)
    values (
        caller_id, register_notification_channel.channel, register_notification_channel.provider, wanted.address,
        register_notification_channel.label, now())
    on conflict (user_id, channel, address) do update  -- what the engine had disabled lives; what its owner had, does not
    set provider = excluded.provider, is_enabled = c.is_enabled or c.disabled_reason is not null, registered_at = now(),
        label = coalesce(excluded.label, c.label)
    returning c.id into wanted.id;
    -- Tokens change, and the old ones are not always taken back.
    delete from public.notification_channels as c
    where c.id in (
        select o.id from public.notification_channels as o
        where o.user_id = caller_id and not o.verified
        order by o.registered_at desc, o.created_at desc offset 100);
    return wanted.id;
end
$$;

comment on function public.register_notification_channel(text, text, text, text) is
    'Tells where the caller is reached: a device''s push token, or a further mail address or number. Again and again, as apps do '
    'at every start. A device is whose app registered it last. The id of the channel.';

do $$
declare
    routine regprocedure;
begin
    foreach routine in array array[
        'public.unread_notification_counts()', 'public.mark_notifications_read(uuid[], timestamptz)',
        'public.archive_notifications(uuid[], timestamptz)', 'public.mark_queue_item_read(bigint)',
        'public.register_notification_channel(text, text, text, text)']
    loop
        execute format('revoke execute on function %s from public, anon', routine);
        execute format('grant execute on function %s to authenticated, service_role, postgres', routine);
    end loop;
end
$$;
