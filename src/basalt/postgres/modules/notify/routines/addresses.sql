-- Where people are reached. The confirmed mail address and number of an account are channels without a row of their own; such a
-- row is made when they must not be used any more.
reset role;

-- Without `security definer` and `set`, so that a page of an event becomes one plan: a quarter of what it costs otherwise.
create or replace function basalt.notification_addresses(person auth.users, channels text[])
returns table (channel text, channel_id uuid, provider text, address text)
language sql
stable
as $$
    select c.channel, c.id, c.provider, c.address
    from public.notification_channels as c
    where c.user_id = person.id and c.channel = any (channels) and c.is_enabled and (c.channel = 'push' or c.verified)
        and c.address is distinct from case
            when c.channel = 'email' and person.email_confirmed_at is not null then lower(person.email)
            when c.channel = 'sms' and person.phone_confirmed_at is not null then '+' || ltrim(person.phone, '+') end
    union all
    select own.channel, c.id, null, own.address
    from (values
        ('email', case when person.email_confirmed_at is not null then lower(nullif(person.email, '')) end),
        ('sms', case when person.phone_confirmed_at is not null then '+' || ltrim(nullif(person.phone, ''), '+') end))
        as own(channel, address)
    left join public.notification_channels as c
        on c.user_id = person.id and c.channel = own.channel and c.address = own.address
    where channels && array['email', 'sms'] and own.channel = any (channels) and own.address is not null and c.is_enabled is not false
$$;

comment on function basalt.notification_addresses(auth.users, text[]) is 'Where somebody is reached by these channels.';

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
        'basalt.notification_addresses(auth.users, text[])', 'basalt.disable_notification_address(text, text, text, text, uuid)',
        'basalt.fall_back_notification(bigint, text)']
    loop
        perform pg_temp.give_to_owner(routine);
        execute format('revoke execute on function %s from public', routine);
        execute format('grant execute on function %s to postgres, service_role', routine);
    end loop;
end
$$;
