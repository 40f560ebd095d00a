-- What is checked and filled in when rows are written, by whomever. Sentences are for those who call the API.
reset role;

create or replace function basalt.stamp_updated_at() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    new.updated_at := now();
    return new;
end
$$;

comment on function basalt.stamp_updated_at() is 'Trigger: the row changes now.';

create or replace function basalt.check_notification_frequency(place text, value jsonb) returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if value is not null and value not in ('"none"', '"hourly"', '"daily"', '"weekly"') then
        raise exception '%: % is none of none, hourly, daily, weekly', place, left(value::text, 100)
            using errcode = 'PT400', hint = 'See "Preferences" in docs/how-to/notifications.md';
    end if;
end
$$;

create or replace function basalt.check_notification_channels(place text, value jsonb, takes_in_app boolean) returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    channel jsonb;
    seen jsonb[] := '{}';
begin
    if value is null then
        return;
    end if;
    if jsonb_typeof(value) <> 'array' then
        raise exception '% is not a list of channels', place using errcode = 'PT400';
    end if;
    for channel in select e.value from jsonb_array_elements(value) as e(value) loop
        if channel not in ('"in_app"', '"email"', '"push"', '"sms"') then
            raise exception '%: there is no channel %', place, left(channel::text, 100)
                using errcode = 'PT400', hint = 'Channels are in_app, email, push and sms';
        end if;
        if channel = '"in_app"' and not takes_in_app then
            raise exception '%: in_app needs no other channel to take its place, nor does it take one', place
                using errcode = 'PT400';
        end if;
        if channel = any (seen) then
            raise exception '%: % occurs twice', place, channel using errcode = 'PT400';
        end if;
        seen := seen || channel;
    end loop;
end
$$;

create or replace function basalt.check_notification_choice(place text, value jsonb, is_event boolean) returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    key text;
begin
    if jsonb_typeof(value) <> 'object' then
        raise exception '% is not an object', place
            using errcode = 'PT400', hint = format('Write {"%s": {"enabled": true}}', split_part(place, '.', -1));
    end if;
    for key in select k from jsonb_object_keys(value) as k loop
        if key not in ('enabled', 'digest') and not (is_event and key in ('channels', 'fallback')) then
            raise exception '%: there is no setting %', place, left(key, 100)
                using errcode = 'PT400', hint = 'See "Preferences" in docs/how-to/notifications.md';
        end if;
    end loop;
    if jsonb_typeof(value -> 'enabled') <> 'boolean' then
        raise exception '%.enabled is neither true nor false', place using errcode = 'PT400';
    end if;
    perform basalt.check_notification_frequency(place || '.digest', value -> 'digest');
    if not is_event then
        if place = 'channel_settings.in_app' and value ->> 'digest' <> 'none' then
            raise exception 'channel_settings.in_app.digest: what is shown in the app is never held back'
                using errcode = 'PT400';
        end if;
        return;
    end if;
    perform basalt.check_notification_channels(place || '.channels', value -> 'channels', true);
    perform basalt.check_notification_channels(place || '.fallback', value -> 'fallback', false);
    if value -> 'enabled' = 'false' and jsonb_array_length(value -> 'channels') > 0 then
        raise exception '% contradicts itself: not enabled, and yet it names channels', place using errcode = 'PT400';
    end if;
    if value -> 'channels' = '[]' and value -> 'enabled' = 'true' then
        raise exception '% contradicts itself: enabled, and yet by no channel', place using errcode = 'PT400';
    end if;
end
$$;

create or replace function basalt.check_notification_preferences() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    key text;
    event_type text;
    settings jsonb := coalesce(new.channel_settings, '{}');
begin
    -- A table from before the engine may hold nulls.
    new.channel_settings := coalesce(new.channel_settings, '{}');
    new.digest_frequency := coalesce(new.digest_frequency, 'none');
    new.timezone := coalesce(new.timezone, 'UTC');
    if jsonb_typeof(settings) <> 'object' then
        raise exception 'channel_settings is not an object' using errcode = 'PT400';
    end if;
    if octet_length(settings::text) > 16384 then
        raise exception 'channel_settings is larger than 16384 bytes' using errcode = 'PT413';
    end if;
    for key in select k from jsonb_object_keys(settings) as k loop
        case
            when key in ('in_app', 'email', 'push', 'sms') then
                perform basalt.check_notification_choice('channel_settings.' || key, settings -> key, false);
            when key = 'fallback' then
                perform basalt.check_notification_channels('channel_settings.fallback', settings -> key, false);
            when key = 'events' then
                if jsonb_typeof(settings -> key) <> 'object' then
                    raise exception 'channel_settings.events is not an object' using errcode = 'PT400';
                end if;
                select e.k into event_type from jsonb_object_keys(settings -> key) as e(k)
                where e.k !~ '^[a-z0-9][a-z0-9._:-]{0,99}$' limit 1;
                if found then
                    raise exception 'channel_settings.events: % is no name of an event', left(event_type, 100)
                        using errcode = 'PT400', hint = 'Lower-case letters, digits, dots and dashes, as in order.shipped';
                end if;
                perform basalt.check_notification_choice('channel_settings.events.' || e.key, e.value, true)
                from jsonb_each(settings -> key) as e;
            else
                raise exception 'channel_settings: there is no channel %', left(key, 100)
                    using errcode = 'PT400', hint = 'Channels are in_app, email, push and sms; beside them events and fallback';
        end case;
    end loop;
    if new.digest_frequency not in ('none', 'hourly', 'daily', 'weekly') then
        raise exception 'digest_frequency: % is none of none, hourly, daily, weekly', left(new.digest_frequency, 100)
            using errcode = 'PT400';
    end if;
    if new.rate_limit_per_hour < 0 then
        raise exception 'rate_limit_per_hour is negative' using errcode = 'PT400', hint = 'Null is no limit';
    end if;
    if (new.quiet_hours_start is null) <> (new.quiet_hours_end is null) then
        raise exception 'quiet_hours_start and quiet_hours_end belong together: one is missing' using errcode = 'PT400';
    end if;
    if new.quiet_hours_start = new.quiet_hours_end
        or (new.quiet_hours_start, new.quiet_hours_end) = (time '00:00', time '24:00') then
        raise exception 'quiet_hours_start and quiet_hours_end are the same: never or always?'
            using errcode = 'PT400', hint = 'To get nothing outside the app, set rate_limit_per_hour to 0';
    end if;
    if new.locale !~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$' then
        raise exception 'locale: % is no language tag', left(new.locale, 100)
            using errcode = 'PT400', hint = 'For example en, de-AT or pt-BR';
    end if;
    if tg_op = 'INSERT' or new.timezone is distinct from old.timezone then
        perform basalt.check_time_zone(new.timezone);
    end if;
    return new;
end
$$;

comment on function basalt.check_notification_preferences() is
    'Trigger: preferences that could not be followed are refused, with a sentence.';

-- By its name in the IANA database, which the worker goes by; PostgreSQL itself takes any offset or abbreviation too.
create or replace function basalt.check_time_zone(zone text) returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
    same text;
begin
    if exists (select from basalt.notify_time_zones as z where z.name = zone) then
        return;
    end if;
    select z.name into same from pg_timezone_names as z
    where lower(z.name) = lower(zone) and z.name !~ '^(posix|right)/' and z.name not in ('posixrules', 'localtime', 'Factory');
    if same = zone then
        return;
    end if;
    raise exception 'timezone: there is no time zone %', left(zone, 100)
        using errcode = 'PT400',
            hint = coalesce('It is written ' || same, 'Take a name of the IANA database, for example Europe/Berlin');
end
$$;

create or replace function basalt.normalize_notification_address(channel text, provider text, address text)
returns text
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    subscription jsonb;
    number text;
begin
    if trim(address) = '' then
        raise exception 'address is empty' using errcode = 'PT400';
    end if;
    if channel = 'email' then
        if trim(address) !~ '^[^[:space:]@<>,;]{1,64}@[^[:space:]@<>,;]{1,255}$' then
            raise exception 'address: % is no mail address', left(address, 100) using errcode = 'PT400';
        end if;
        return lower(trim(address));
    elsif channel = 'sms' then
        number := regexp_replace(address, '[[:space:]().-]', '', 'g');
        if number !~ '^\+[1-9][0-9]{6,14}$' then
            raise exception 'address: % is no telephone number', left(address, 100)
                using errcode = 'PT400', hint = 'With the country''s code, as +491701234567';
        end if;
        return number;
    elsif provider is distinct from 'webpush' then
        return trim(address);
    end if;
    begin
        subscription := address::jsonb;
    exception when others then
        raise exception 'address is not the JSON of a Web Push subscription' using errcode = 'PT400';
    end;
    if coalesce(subscription ->> 'endpoint', '') !~ '^https://[^[:space:]]+$'
        or subscription #>> '{keys,p256dh}' is null or subscription #>> '{keys,auth}' is null then
        raise exception 'address: a Web Push subscription has endpoint (https), keys.p256dh and keys.auth'
            using errcode = 'PT400', hint = 'JSON.stringify() of what pushManager.subscribe() gives';
    end if;
    -- Always written alike, so that one subscription is one row.
    return jsonb_build_object('endpoint', subscription -> 'endpoint', 'keys', jsonb_build_object(
        'auth', subscription #> '{keys,auth}', 'p256dh', subscription #> '{keys,p256dh}'));
end
$$;

comment on function basalt.normalize_notification_address(text, text, text) is
    'The one spelling of an address; one that its channel cannot use is refused.';

create or replace function basalt.check_notification_channel() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    new.address := basalt.normalize_notification_address(new.channel, new.provider, new.address);
    if tg_op = 'UPDATE' and new.is_enabled and not old.is_enabled then
        new.disabled_reason := null;
    end if;
    return new;
end
$$;

comment on function basalt.check_notification_channel() is
    'Trigger: addresses have one spelling and a form that their channel can use.';

-- As who writes, by which it knows a client from the project's own code.
create or replace function basalt.guard_notification_channel() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if current_user not in ('anon', 'authenticated') then
        return new;
    end if;
    if tg_op = 'UPDATE' and (new.channel, new.address) is distinct from (old.channel, old.address) then
        new.verified := false;
    end if;
    if new.verified and (tg_op = 'INSERT' or not old.verified) then
        raise exception 'verified is not yours to set' using errcode = '42501';
    end if;
    if (select count(*) from public.notification_channels as c
        where c.user_id = new.user_id and tg_op = 'INSERT') >= 100 then
        raise exception 'A person has 100 channels at most' using errcode = 'PT400', hint = 'Remove what is out of use';
    end if;
    return new;
end
$$;

comment on function basalt.guard_notification_channel() is
    'Trigger: nobody verifies their own address, nor changes one that is verified, and nobody has channels without end.';

create or replace function basalt.stamp_notification() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if new.read_at is not null and new.read_at is distinct from old.read_at then
        new.read_at := coalesce(old.read_at, now());
    end if;
    if new.archived_at is not null and new.archived_at is distinct from old.archived_at then
        new.archived_at := coalesce(old.archived_at, now());
    end if;
    return new;
end
$$;

comment on function basalt.stamp_notification() is
    'Trigger: when a notification was first read or archived is what the clock says, whatever a client writes.';

create or replace function basalt.check_notification_template() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    schema jsonb := new.metadata_schema;
    property text;
begin
    if jsonb_typeof(schema) <> 'object' then
        raise exception 'metadata_schema is not an object' using errcode = 'PT400';
    end if;
    if octet_length(schema::text) > 65536 then
        raise exception 'metadata_schema is larger than 65536 bytes' using errcode = 'PT400';
    end if;
    if jsonb_typeof(schema -> 'required') <> 'array' then
        raise exception 'metadata_schema.required is not a list' using errcode = 'PT400';
    end if;
    if jsonb_typeof(schema -> 'properties') <> 'object' then
        raise exception 'metadata_schema.properties is not an object' using errcode = 'PT400';
    end if;
    select p.key into property from jsonb_each(schema -> 'properties') as p
    where jsonb_typeof(p.value -> 'type') not in ('string', 'array') limit 1;
    if found then
        raise exception 'metadata_schema.properties.%.type is neither a name nor a list of them', left(property, 100)
            using errcode = 'PT400';
    end if;
    return new;
end
$$;

comment on function basalt.check_notification_template() is
    'Trigger: a schema that issue_notification() can hold a context against. Its texts are looked at by who renders them.';

do $$
declare
    routine regprocedure;
begin
    -- They call what clients may not.
    foreach routine in array array[
        'basalt.check_notification_preferences()', 'basalt.check_notification_channel()',
        'basalt.check_notification_template()', 'basalt.check_notification_frequency(text, jsonb)',
        'basalt.check_notification_channels(text, jsonb, boolean)', 'basalt.check_notification_choice(text, jsonb, boolean)',
        'basalt.check_time_zone(text)', 'basalt.normalize_notification_address(text, text, text)',
        'basalt.stamp_updated_at()', 'basalt.stamp_notification()', 'basalt.guard_notification_channel()']
    loop
        perform pg_temp.give_to_owner(routine);
        execute format('revoke execute on function %s from public', routine);
        execute format('grant execute on function %s to postgres', routine);
    end loop;
end
$$;

select pg_temp.become_owner();

create or replace trigger notification_templates_check
    before insert or update on public.notification_templates
    for each row execute function basalt.check_notification_template();
create or replace trigger notification_channels_check
    before insert or update of channel, provider, address, verified, is_enabled on public.notification_channels
    for each row execute function basalt.check_notification_channel();
create or replace trigger notification_channels_guard
    before insert or update of channel, address, verified on public.notification_channels
    for each row execute function basalt.guard_notification_channel();
create or replace trigger notification_preferences_check
    before insert or update on public.notification_preferences
    for each row execute function basalt.check_notification_preferences();
create or replace trigger notifications_stamp
    before update of read_at, archived_at on public.notifications
    for each row execute function basalt.stamp_notification();

create or replace trigger notification_templates_updated_at
    before update on public.notification_templates
    for each row execute function basalt.stamp_updated_at();
create or replace trigger notification_channels_updated_at
    before update on public.notification_channels
    for each row execute function basalt.stamp_updated_at();
create or replace trigger notification_preferences_updated_at
    before update on public.notification_preferences
    for each row execute function basalt.stamp_updated_at();
