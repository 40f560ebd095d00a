-- Where people are reached. The confirmed mail address and number of an account are channels without a row of their own; such a
-- row is made when they must not be used any more.
reset role;

create or replace function basalt.notification_addresses(user_ids uuid[])
returns table (user_id uuid, channel text, channel_id uuid, provider text, address text, locale text)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    with people as (
        select
            u.id,
            case when u.email_confirmed_at is not null then lower(nullif(u.email, '')) end as email,
            case when u.phone_confirmed_at is not null then '+' || ltrim(nullif(u.phone, ''), '+') end as number,
            coalesce(p.locale, substring(u.raw_user_meta_data ->> 'locale' from '^[a-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}$'))
                as locale
        from auth.users as u
        left join public.notification_preferences as p on p.user_id = u.id
        where u.id = any (user_ids) and u.deleted_at is null)
    select p.id, 'in_app', null::uuid, null::text, null::text, p.locale from people as p
    union all
    select p.id, a.channel, c.id, null, a.address, p.locale
    from people as p
    cross join lateral (values ('email', p.email), ('sms', p.number)) as a(channel, address)
    left join public.notification_channels as c
        on c.user_id = p.id and c.channel = a.channel and c.address = a.address
    where a.address is not null and c.is_enabled is not false
    union all
    select p.id, c.channel, c.id, c.provider, c.address, p.locale
    from people as p
    join public.notification_channels as c on c.user_id = p.id
    where c.is_enabled and (c.channel = 'push' or c.verified)
        and c.address is distinct from case c.channel when 'email' then p.email when 'sms' then p.number end
$$;

comment on function basalt.notification_addresses(uuid[]) is
    'Where these people are reached: one row per address, and one for `in_app`, without an address, for everybody who exists.';

create or replace function basalt.disable_notification_address(
    dead_channel text, dead_address text, dead_provider text, reason text, owner_id uuid default null)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    changed integer;
begin
    update public.notification_channels as c set is_enabled = false, disabled_reason = reason
    where c.channel = dead_channel and c.address = dead_address and c.is_enabled
        and (dead_channel <> 'push' or c.provider = dead_provider);
    get diagnostics changed = row_count;
    if dead_channel in ('email', 'sms') and owner_id is not null then
        insert into public.notification_channels as c (user_id, channel, address, verified, is_enabled, disabled_reason)
        select u.id, dead_channel, dead_address, true, false, reason
        from auth.users as u
        where u.id = owner_id
            and dead_address in (lower(u.email), '+' || ltrim(u.phone, '+'))
        on conflict (user_id, channel, address) do nothing;
        if found then
            changed := changed + 1;
        end if;
    end if;
    return changed;
end
$$;

comment on function basalt.disable_notification_address(text, text, text, text, uuid) is
    'Nothing is sent to this address any more, whoever has it; owner_id is who it failed for. How many rows say so now that did not.';

create or replace function basalt.fall_back_notification(failed_id bigint, reason text)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    failed public.notification_queue;
begin
    update public.notification_queue as q
    set status = 'failed', error_code = reason, finished_at = coalesce(q.finished_at, now()), locked_by = null,
        locked_until = null
    where q.id = failed_id and q.status not in ('failed', 'cancelled')
    returning q.* into failed;
    if failed.id is null or failed.fallback = '{}' then
        return false;
    end if;
    perform basalt.enqueue(
        'basalt.notify.fall_back', jsonb_build_object('queue_id', failed_id), queue => 'notify', priority => failed.priority,
        key => 'fall_back:' || failed_id);
    return true;
end
$$;

comment on function basalt.fall_back_notification(bigint, text) is
    'A message that seemed sent did not arrive: its row has failed, and the job `basalt.notify.fall_back` takes the next '
    'channel. False where there is none, or where that was known.';

do $$
declare
    routine regprocedure;
begin
    foreach routine in array array[
        'basalt.notification_addresses(uuid[])', 'basalt.disable_notification_address(text, text, text, text, uuid)',
        'basalt.fall_back_notification(bigint, text)']
    loop
        perform pg_temp.give_to_owner(routine);
        execute format('revoke execute on function %s from public', routine);
        execute format('grant execute on function %s to postgres, service_role', routine);
    end loop;
end
$$;
