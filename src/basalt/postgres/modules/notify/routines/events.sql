-- How an event comes about: checked, written down and put before the workers in the caller's own transaction.
select pg_temp.become_owner();

create or replace function public.issue_notification(
    event_type text, subject_id uuid default null, context jsonb default '{}', actor_id uuid default null,
    channels text[] default null, audience jsonb default null, scheduled_for timestamptz default null,
    expires_at timestamptz default null, priority integer default 5, dedup_key text default null)
returns uuid
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    given jsonb := coalesce(issue_notification.context, '{}');
    due timestamptz := greatest(issue_notification.scheduled_for, now());
    wanted text[] := issue_notification.channels;
    caller_request_id text := left(nullif(current_setting('request.headers', true), '')::jsonb ->> 'x-request-id', 200);
    template public.notification_templates;
    template_count integer := 0;
    max_context_bytes integer := (select s.value from basalt.notify_settings as s where s.name = 'max_context_bytes');
    new_id uuid;
begin
    if issue_notification.event_type is null then
        raise exception 'event_type is missing' using errcode = 'PT400';
    end if;
    if issue_notification.dedup_key is not null then
        if octet_length(issue_notification.dedup_key) not between 1 and 400 then
            raise exception 'dedup_key has 1 to 400 bytes' using errcode = 'PT400';
        end if;
        select e.id into new_id from public.notification_events as e
        where e.event_type = issue_notification.event_type and e.dedup_key = issue_notification.dedup_key;
        if found then
            return new_id;
        end if;
    end if;
    if jsonb_typeof(given) <> 'object' then
        raise exception 'context is not an object' using errcode = 'PT400';
    end if;
    if octet_length(given::text) > max_context_bytes then
        raise exception 'context has % bytes, more than %', octet_length(given::text), max_context_bytes
            using errcode = 'PT413', hint = 'Name what the message is about by its id, or raise notify.max_context';
    end if;
    if issue_notification.priority not between 0 and 9 then
        raise exception 'priority is from 0, which is urgent, to 9' using errcode = 'PT400';
    end if;
    if issue_notification.expires_at <= due then
        raise exception 'expires_at is not after scheduled_for' using errcode = 'PT400';
    end if;
    if due > now() + interval '1 year' then
        raise exception 'scheduled_for is more than a year ahead' using errcode = 'PT400';
    end if;
    if issue_notification.expires_at > now() + interval '10 years' then
        raise exception 'expires_at is more than ten years ahead' using errcode = 'PT400', hint = 'Leave it out';
    end if;
    if wanted = '{}' then
        raise exception 'channels is empty' using errcode = 'PT400', hint = 'Leave it out for all channels';
    end if;
    if not wanted <@ array['in_app', 'email', 'push', 'sms'] then
        raise exception 'channels: there is no channel %',
            (select w from unnest(wanted) as w where w is null or w not in ('in_app', 'email', 'push', 'sms') limit 1)
            using errcode = 'PT400', hint = 'Channels are in_app, email, push and sms';
    end if;
    perform basalt.check_notification_audience(issue_notification.subject_id, issue_notification.audience);
    if issue_notification.actor_id is not null
        and not exists (select from auth.users as u where u.id = issue_notification.actor_id) then
        raise exception 'actor_id: there is no user %', issue_notification.actor_id using errcode = 'PT404';
    end if;
    for template in
        select distinct on (t.channel, t.locale) t.* from public.notification_templates as t
        where t.event_type = issue_notification.event_type and t.is_active and (wanted is null or t.channel = any (wanted))
        order by t.channel, t.locale, t.version desc
    loop
        template_count := template_count + 1;
        perform basalt.check_notification_context(
            format('%s/%s/%s', template.event_type, template.channel, template.locale), template.metadata_schema, given);
    end loop;
    if template_count = 0 then
        raise exception 'There is no active template for event type %', left(issue_notification.event_type, 120)
            || coalesce(' by ' || array_to_string(wanted, ', '), '')
            using errcode = 'PT404',
                hint = 'Make one: POST /notify/v1/templates, or select save_notification_template(…)';
    end if;
    insert into public.notification_events (
        event_type, actor_id, subject_id, audience, context, channels, priority, dedup_key, scheduled_for, expires_at,
        request_id)
    values (
        issue_notification.event_type, issue_notification.actor_id, issue_notification.subject_id,
        issue_notification.audience, given, wanted, coalesce(issue_notification.priority, 5), issue_notification.dedup_key, due,
        issue_notification.expires_at, caller_request_id)
    on conflict (event_type, dedup_key) where dedup_key is not null do nothing
    returning id into new_id;
    if new_id is null then  -- another transaction was quicker
        select e.id into new_id from public.notification_events as e
        where e.event_type = issue_notification.event_type and e.dedup_key = issue_notification.dedup_key;
        return new_id;
    end if;
    perform basalt.enqueue(
        'basalt.notify.expand',
        jsonb_strip_nulls(jsonb_build_object(
            'event_id', new_id, 'asks_routine', case when issue_notification.audience ? 'routine' then true end)),
        queue => 'notify',
        priority => coalesce(issue_notification.priority, 5), run_at => case when due > now() then due end,
        key => new_id::text);
    return new_id;
end
$$;

comment on function public.issue_notification(
    text, uuid, jsonb, uuid, text[], jsonb, timestamptz, timestamptz, integer, text) is
    'Says that something happened, so that the people it concerns are told. Returns the id of the event, that of the earlier '
    'one where the event type has had the same dedup_key.';

revoke execute on function public.issue_notification(
    text, uuid, jsonb, uuid, text[], jsonb, timestamptz, timestamptz, integer, text) from public, anon, authenticated;
grant execute on function public.issue_notification(
    text, uuid, jsonb, uuid, text[], jsonb, timestamptz, timestamptz, integer, text) to postgres, service_role;

create or replace function public.cancel_notification(event_type text, dedup_key text)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    event uuid;
begin
    select e.id into event from public.notification_events as e
    where e.event_type = cancel_notification.event_type and e.dedup_key = cancel_notification.dedup_key;
    return case when found then basalt.cancel_notification_event(event) else 0 end;
end
$$;

comment on function public.cancel_notification(text, text) is
    'What was said with this event type and dedup_key is true no more: who has not been told is not told. Returns how many '
    'messages were stopped.';

revoke execute on function public.cancel_notification(text, text) from public, anon, authenticated;
grant execute on function public.cancel_notification(text, text) to postgres, service_role;

reset role;

create or replace function basalt.cancel_notification_event(event uuid) returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    expansion basalt.notification_expansions;
    stopped integer;
begin
    perform pg_advisory_xact_lock(hashtextextended(event::text, 1650553715));  -- as who expands it does
    delete from basalt.notification_expansions as x where x.event_id = event returning * into expansion;
    delete from basalt.notification_recipients as r where r.event_id = event;
    update public.notification_events as e
    set status = 'cancelled', recipient_count = coalesce(expansion.recipient_count, e.recipient_count),
        queued_count = coalesce(expansion.queued_count, e.queued_count)
    where e.id = event and e.status in ('pending', 'expanding', 'expanded');
    update public.notification_queue as q set status = 'cancelled', finished_at = now()
    where q.event_id = event and q.status in ('pending', 'held', 'digest')
        and (q.locked_until is null or q.locked_until <= now());
    get diagnostics stopped = row_count;
    return stopped;
end
$$;

comment on function basalt.cancel_notification_event(uuid) is
    'Stops an event: how many messages. What a provider has in hand goes on.';

create or replace function basalt.check_notification_audience(subject uuid, audience jsonb) returns void
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    missing text;
    routine text := audience ->> 'routine';
    kinds text[];
begin
    if (subject is null) = (audience is null) then
        raise exception 'An event has a subject_id or an audience, one of them' using errcode = 'PT400';
    end if;
    if subject is not null then
        if not exists (select from auth.users as u where u.id = subject and u.deleted_at is null) then
            raise exception 'subject_id: there is no user %', subject using errcode = 'PT404';
        end if;
        return;
    end if;
    if jsonb_typeof(audience) <> 'object' then
        raise exception 'audience is not an object' using errcode = 'PT400';
    end if;
    if octet_length(audience::text) > 5000000 then
        raise exception 'audience is larger than 5000000 bytes'
            using errcode = 'PT413', hint = 'Write a routine that returns the users, and name it: {"routine": "schema.name"}';
    end if;
    kinds := array(select k from jsonb_object_keys(audience) as k where k <> 'arguments' order by k);
    if kinds not in ('{user_ids}', '{everyone}', '{routine}') or (audience ? 'arguments' and kinds <> '{routine}') then
        raise exception 'audience is one of {"user_ids": […]}, {"everyone": true}, {"routine": "schema.name", "arguments": {…}}'
            using errcode = 'PT400';
    end if;
    if audience ? 'everyone' and audience -> 'everyone' <> 'true' then
        raise exception 'audience.everyone is true, or left out' using errcode = 'PT400';
    end if;
    if audience ? 'user_ids' then
        if jsonb_typeof(audience -> 'user_ids') <> 'array' or audience -> 'user_ids' = '[]' then
            raise exception 'audience.user_ids is not a list of users' using errcode = 'PT400';
        end if;
        select e.value #>> '{}' into missing from jsonb_array_elements(audience -> 'user_ids') as e(value)
        where coalesce(e.value #>> '{}', '') !~* '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' limit 1;
        if found then
            raise exception 'audience.user_ids: % is no UUID', coalesce(left(missing, 100), 'null') using errcode = 'PT400';
        end if;
        select e.value into missing from jsonb_array_elements_text(audience -> 'user_ids') as e(value)
        where not exists (select from auth.users as u where u.id = e.value::uuid) limit 1;
        if found then
            raise exception 'audience.user_ids: there is no user %', missing using errcode = 'PT404';
        end if;
    end if;
    if audience ? 'routine' then
        if jsonb_typeof(audience -> 'arguments') <> 'object' then
            raise exception 'audience.arguments is not an object' using errcode = 'PT400';
        end if;
        if routine !~ '^[^".]+[.][^".]+$' or not exists (
            select from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
            where n.nspname = split_part(routine, '.', 1) and p.proname = split_part(routine, '.', 2)
                and p.proretset and p.prorettype = 'uuid'::regtype and p.proargtypes = array['jsonb'::regtype::oid]::oidvector)
        then
            raise exception 'audience.routine: there is no routine %(jsonb) that returns setof uuid', left(routine, 200)
                using errcode = 'PT404', hint = 'Name it with its schema, as in public.followers_of';
        end if;
    end if;
end
$$;

create or replace function basalt.check_notification_context(label text, schema jsonb, given jsonb) returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    name text;
    wanted jsonb;
    found_type text;
begin
    select r.value into name from jsonb_array_elements_text(schema -> 'required') as r(value)
    where not given ? r.value limit 1;
    if found then
        raise exception 'Variable ''%'' is missing: template % needs it', name, label using errcode = 'PT400';
    end if;
    for name, wanted in
        select p.key, case jsonb_typeof(p.value -> 'type')
            when 'string' then jsonb_build_array(p.value -> 'type') else p.value -> 'type' end
        from jsonb_each(schema -> 'properties') as p
        where given ? p.key and jsonb_typeof(p.value) = 'object' and p.value ? 'type'
    loop
        found_type := jsonb_typeof(given -> name);
        if not wanted ? found_type
            and not (found_type = 'number' and wanted ? 'integer' and (given ->> name)::numeric % 1 = 0) then
            raise exception 'Variable ''%'' is of type %: template % needs %', name, found_type, label,
                (select string_agg(w, ' or ') from jsonb_array_elements_text(wanted) as w)
                using errcode = 'PT400';
        end if;
    end loop;
end
$$;

create or replace function basalt.notification_progress(event uuid) returns jsonb
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    with counts as (
        select q.channel, q.status, count(*) as n from public.notification_queue as q
        where q.event_id = event group by q.channel, q.status)
    select jsonb_build_object(
        'id', e.id, 'event_type', e.event_type, 'status', e.status, 'error', e.error, 'triggered_at', e.triggered_at,
        'scheduled_for', e.scheduled_for, 'expires_at', e.expires_at,
        'recipients', coalesce(x.recipient_count, e.recipient_count),
        'queued', sums.queued + s.sending, 'waiting', sums.waiting + s.sending, 'sent', sums.sent, 'delivered', sums.delivered,
        'failed', sums.failed, 'cancelled', sums.cancelled, 'by_channel', sums.by_channel)
    from public.notification_events as e
    left join basalt.notification_expansions as x on x.event_id = e.id
    cross join lateral (
        select coalesce(sum(cardinality(s.ids)), 0) as sending from basalt.notification_shipments as s
        where s.event_id = e.id) as s
    cross join (
        select coalesce(sum(c.n), 0) as queued,
            coalesce(sum(c.n) filter (where c.status in ('pending', 'held', 'digest')), 0) as waiting,
            coalesce(sum(c.n) filter (where c.status in ('sent', 'delivered')), 0) as sent,
            coalesce(sum(c.n) filter (where c.status = 'delivered'), 0) as delivered,
            coalesce(sum(c.n) filter (where c.status = 'failed'), 0) as failed,
            coalesce(sum(c.n) filter (where c.status in ('cancelled', 'expired')), 0) as cancelled,
            (select coalesce(jsonb_object_agg(b.channel, b.statuses), '{}') from (
                select a.channel, jsonb_object_agg(a.status, a.n) as statuses from counts as a group by a.channel) as b)
                as by_channel
        from counts as c) as sums
    where e.id = event
$$;

comment on function basalt.notification_progress(uuid) is
    'How far an event has come: its status and how many of its messages wait, were sent, arrived, failed. `delivered` are '
    'among `sent`. Null where there is no such event.';

do $$
declare
    routine regprocedure;
begin
    foreach routine in array array[
        'basalt.check_notification_audience(uuid, jsonb)', 'basalt.check_notification_context(text, jsonb, jsonb)',
        'basalt.cancel_notification_event(uuid)', 'basalt.notification_progress(uuid)']
    loop
        perform pg_temp.give_to_owner(routine);
        execute format('revoke execute on function %s from public', routine);
        execute format('grant execute on function %s to postgres, service_role', routine);
    end loop;
end
$$;
