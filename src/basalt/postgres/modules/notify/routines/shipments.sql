-- How a shipment ends: its messages become rows of the queue and of the deliveries, once. They run with the rights of the
-- dispatcher, as triggers that an app puts on these tables expect. The rows have no dedup_key: only events without one of
-- their own leave in shipments, and a page of the expansion makes its messages once.
reset role;

create or replace function basalt.read_shipment(shipment basalt.notification_shipments, ends jsonb)
returns table (
    id bigint, user_id uuid, channel text, channel_id uuid, address text, template_id uuid, payload jsonb, fallback text[],
    status text, delivery text, message_id text, error_code text, response jsonb, delay_s double precision,
    is_uncounted boolean)
language sql
stable  -- and without a search path of its own, so that it becomes a part of the query that calls it
as $$
    with texts as materialized (
        select t.number - 1 as number, t.value ->> 'channel' as channel, (t.value ->> 'template_id')::uuid as template_id,
            array(select f.name from jsonb_array_elements_text(t.value -> 'fallback') as f(name)) as fallback,
            t.value -> 'payload' as payload
        from jsonb_array_elements(shipment.texts) with ordinality as t(value, number)),
    ends as materialized (
        select * from jsonb_to_recordset(ends) as e(
            id bigint, status text, delivery text, message_id text, error_code text, response jsonb,
            delay_s double precision, is_uncounted boolean))
    select m.id, m.user_id, t.channel, m.channel_id, m.address, t.template_id, t.payload, t.fallback, e.status, e.delivery,
        e.message_id, e.error_code, e.response, coalesce(e.delay_s, 0), coalesce(e.is_uncounted, false)
    from unnest(
        shipment.ids, shipment.user_ids, shipment.channel_ids, shipment.addresses, shipment.text_numbers)
        as m(id, user_id, channel_id, address, text_number)
    join texts as t on t.number = m.text_number
    join ends as e on e.id = m.id
$$;

comment on function basalt.read_shipment(basalt.notification_shipments, jsonb) is
    'The messages of a shipment that are among `ends`, and how they ended.';

create or replace function basalt.shipments_are_checked_by_engine() returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
    with tables as (
        select c.oid, c.relkind, c.relhasrules from pg_class as c
        where c.oid in ('public.notification_queue'::regclass, 'public.notification_deliveries'::regclass))
    select has_parameter_privilege('session_replication_role', 'set')
        and not exists (select from tables as t where t.relkind <> 'r' or t.relhasrules)
        and not exists (
            select from pg_trigger as g join tables as t on t.oid = g.tgrelid
            where not g.tgisinternal and g.tgfoid <> 'basalt.take_early_reports()'::regprocedure)
        and not exists (
            select from pg_constraint as k join tables as t on t.oid = k.conrelid
            where k.contype = 'f' and pg_get_constraintdef(k.oid) not in (
                'FOREIGN KEY (event_id) REFERENCES public.notification_events(id) ON DELETE CASCADE',
                'FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE',
                'FOREIGN KEY (queue_id) REFERENCES public.notification_queue(id) ON DELETE CASCADE')
            or k.contype <> 'f' and k.condeferrable)
$$;

comment on function basalt.shipments_are_checked_by_engine() is
    'Whether the tables of the queue and of the deliveries have no triggers, rules and foreign keys but those of the engine.';

create or replace function basalt.write_shipment(shipment basalt.notification_shipments, ends jsonb) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    rest_status text;
    is_checked boolean;
    delivery_ids bigint[];
begin
    lock table public.notification_queue, public.notification_deliveries in row exclusive mode;  -- they stay as they are
    select case e.status when 'cancelled' then 'cancelled' else 'pending' end into rest_status
    from public.notification_events as e where e.id = shipment.event_id for key share;
    if rest_status is null then
        return;  -- the event was deleted meanwhile, and its messages with it
    end if;
    -- Three foreign keys, looked up row by row, are two fifths of what a message costs here. What they would find and lock is
    -- found and locked at once: the event and the people; a delivery's row of the queue is made beside it.
    is_checked := basalt.shipments_are_checked_by_engine();
    if is_checked then
        perform set_config('session_replication_role', 'replica', true);
    end if;
    with given as materialized (
        select * from basalt.read_shipment(shipment, ends)),
    person as materialized (
        select u.id from auth.users as u where u.id = any (array(select g.user_id from given as g)) for key share),
    message as materialized (  -- who is gone meanwhile has no rows
        select g.*, g.status = 'pending' as goes_on from given as g join person on person.id = g.user_id),
    made as (
        insert into public.notification_queue (
            id, event_id, user_id, channel, channel_id, provider, address, template_id, payload, scheduled_for,
            expires_at, priority, fallback, status, attempts, last_attempt_at, error_code, created_at,
            finished_at)
        overriding system value
        select m.id, shipment.event_id, m.user_id, m.channel, m.channel_id, shipment.provider, m.address, m.template_id,
            m.payload,
            case when m.goes_on then clock_timestamp() + make_interval(secs => m.delay_s) else shipment.created_at end,
            shipment.expires_at, shipment.priority, m.fallback,
            case when m.goes_on then rest_status else m.status end, case when m.is_uncounted then 0 else 1 end,
            shipment.created_at, m.error_code, shipment.created_at,
            case when not m.goes_on or rest_status = 'cancelled' then clock_timestamp() end
        from message as m
        returning id),
    delivered as (
        insert into public.notification_deliveries (
            queue_id, attempt, provider, status, provider_message_id, response_payload, error_code, delivered_at)
        select m.id, 1, shipment.provider, m.delivery, m.message_id, m.response, m.error_code,
            case when m.delivery = 'delivered' then clock_timestamp() end
        from message as m join made on made.id = m.id
        where m.delivery is not null
        returning id)
    select array_agg(d.id) into delivery_ids from delivered as d;
    if is_checked then
        perform set_config('session_replication_role', 'origin', true);
        perform basalt.apply_early_reports(delivery_ids);  -- which a trigger does otherwise
    end if;
end
$$;

comment on function basalt.write_shipment(basalt.notification_shipments, jsonb) is
    'Makes rows of the queue, and of the deliveries, of the messages that are among `ends`.';

create or replace function basalt.settle_shipment(shipment_id bigint, worker uuid, ends jsonb) returns bigint[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    shipment basalt.notification_shipments;
    one jsonb;
    refused bigint[] := '{}';
begin
    delete from basalt.notification_shipments as s where s.id = shipment_id and s.worker_id = worker
    returning s.* into shipment;
    if shipment.id is null then
        return refused;
    end if;
    begin
        perform basalt.write_shipment(shipment, ends);
    exception when others then
        if left(sqlstate, 2) in ('08', '40', '53', '55', '57') then
            raise;  -- may succeed later
        end if;
        -- An app's trigger on these tables that raises for a row costs that row alone.
        for one in select e.value from jsonb_array_elements(ends) as e(value) loop
            begin
                perform basalt.write_shipment(shipment, jsonb_build_array(one));
            exception when others then
                refused := refused || (one ->> 'id')::bigint;
            end;
        end loop;
    end;
    return refused;
end
$$;

comment on function basalt.settle_shipment(bigint, uuid, jsonb) is
    'Writes down how the messages of a shipment ended: [{"id", "status", "delivery", "message_id", "error_code", "response", '
    '"delay_s", "is_uncounted"}]. Nothing where somebody else has taken it over. The ids of rows that the database refused.';

create or replace function basalt.take_over_shipments() returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    shipment basalt.notification_shipments;
    taken bigint := 0;
begin
    for shipment in
        select s.* from basalt.notification_shipments as s where s.locked_until <= now() order by s.id limit 20
        for update skip locked
    loop
        perform basalt.settle_shipment(shipment.id, shipment.worker_id, (
            select jsonb_agg(jsonb_build_object(
                'id', i, 'status', 'pending', 'delivery', 'unknown', 'error_code', 'worker_lost'))
            from unnest(shipment.ids) as ids(i)));
        taken := taken + cardinality(shipment.ids);
    end loop;
    if taken > 0 then
        perform pg_notify('basalt_notify', '');
    end if;
    return taken;
end
$$;

comment on function basalt.take_over_shipments() is
    'Puts messages that a worker was sending when it died into the queue, to be sent again. How many.';

do $$
declare
    routine regprocedure;
begin
    foreach routine in array array[
        'basalt.read_shipment(basalt.notification_shipments, jsonb)',
        'basalt.shipments_are_checked_by_engine()', 'basalt.write_shipment(basalt.notification_shipments, jsonb)',
        'basalt.settle_shipment(bigint, uuid, jsonb)', 'basalt.take_over_shipments()']
    loop
        execute format('revoke execute on function %s from public', routine);
        execute format('grant execute on function %s to postgres', routine);
    end loop;
end
$$;
