-- What providers report about messages that they had taken. A report may come twice, late, or before the delivery is written
-- down: each moves a delivery forward or not at all.
reset role;

create or replace function basalt.delivery_rank(status text) returns integer
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
    select case status
        when 'delivered' then 1 when 'opened' then 2 when 'clicked' then 3 when 'failed' then 4 when 'bounced' then 5
        when 'complained' then 6 else 0 end
$$;

comment on function basalt.delivery_rank(text) is 'A delivery''s status is only ever followed by one of a higher rank.';

create or replace function basalt.apply_delivery_report(delivery_id bigint, report jsonb) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    reported text := report ->> 'status';
    at timestamptz := least((report ->> 'at')::timestamptz, now());
    said jsonb := coalesce(report -> 'response', '{}');
    is_reached boolean := reported in ('delivered', 'opened', 'clicked', 'complained');
    is_opened boolean := reported in ('opened', 'clicked');
    is_permanent boolean := coalesce((report ->> 'is_permanent')::boolean, false);
    is_news boolean;
    earlier public.notification_deliveries;
    message public.notification_queue;
begin
    select d.* into earlier from public.notification_deliveries as d where d.id = delivery_id for update;
    -- What is repeated must not disable an address again that its owner has confirmed since.
    is_news := basalt.delivery_rank(reported) > basalt.delivery_rank(earlier.status)
        or (reported = earlier.status and earlier.response_payload -> 'report' is distinct from said);
    update public.notification_deliveries as d
    set status = case when is_news then reported else d.status end,
        delivered_at = case when is_reached then least(coalesce(d.delivered_at, at), at) else d.delivered_at end,
        opened_at = case when is_opened then least(coalesce(d.opened_at, at), at) else d.opened_at end,
        error_code = case when is_news then coalesce(nullif(report ->> 'error_code', ''), d.error_code) else d.error_code end,
        response_payload = case
            when is_news then coalesce(d.response_payload, '{}') || jsonb_build_object('report', said)
            else d.response_payload end
    where d.id = delivery_id;
    select q.* into message from public.notification_queue as q where q.id = earlier.queue_id;
    if is_reached then
        update public.notification_queue as q set status = 'delivered'
        where q.id = message.id and q.status = 'sent';
    end if;
    if is_news and message.address is not null and (reported = 'complained' or (reported = 'bounced' and is_permanent)) then
        perform basalt.disable_notification_address(
            message.channel, message.address, message.provider, reported, message.user_id);
    end if;
    -- A complaint has arrived; to send the same by another way would be the second offence.
    if reported in ('bounced', 'failed') and basalt.delivery_rank(earlier.status) < basalt.delivery_rank(reported) then
        perform basalt.fall_back_notification(message.id, coalesce(nullif(report ->> 'error_code', ''), reported));
    end if;
end
$$;

comment on function basalt.apply_delivery_report(bigint, jsonb) is 'What one report means for a delivery, its message, its address.';

create or replace function basalt.apply_delivery_reports(reporter text, reports jsonb) returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    report jsonb;
    found_id bigint;
    applied integer := 0;
    kept integer := 0;
begin
    -- In the order of messages, so that two requests do not wait for each other.
    for report in
        select r.value from jsonb_array_elements(reports) as r(value) order by r.value ->> 'message_id', r.value ->> 'at'
    loop
        select max(d.id) into found_id from public.notification_deliveries as d
        where d.provider = reporter and d.provider_message_id = report ->> 'message_id';
        if found_id is null then
            insert into basalt.early_delivery_reports (provider, message_id, report_id, report)
            values (reporter, left(report ->> 'message_id', 500), left(report ->> 'id', 500), report)
            on conflict do nothing;
            kept := kept + 1;
        else
            perform basalt.apply_delivery_report(found_id, report);
            applied := applied + 1;
        end if;
    end loop;
    return jsonb_build_object('applied', applied, 'unknown', kept);
end
$$;

comment on function basalt.apply_delivery_reports(text, jsonb) is
    'Applies reports [{"id", "message_id", "status", "at", "error_code", "is_permanent", "response"}] of a provider; those about '
    'unknown messages wait a day for them.';

create or replace function basalt.apply_early_reports(delivery_ids bigint[]) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    early record;
begin
    if not exists (select from basalt.early_delivery_reports) then
        return;
    end if;
    for early in
        with taken as (
            delete from basalt.early_delivery_reports as r using public.notification_deliveries as d
            where d.id = any (delivery_ids) and r.provider = d.provider and r.message_id = d.provider_message_id
            returning d.id, r.report)
        select t.id, t.report from taken as t order by t.id, t.report ->> 'at'
    loop
        begin
            perform basalt.apply_delivery_report(early.id, early.report);
        exception when others then
            if left(sqlstate, 2) in ('08', '40', '53', '55', '57') then
                raise;  -- may succeed later
            end if;
            -- Without the delivery the message would be sent again.
            raise warning 'A report about delivery % was refused: %', early.id, sqlerrm;
        end;
    end loop;
end
$$;

comment on function basalt.apply_early_reports(bigint[]) is
    'Applies reports that came before these deliveries, which are about them.';

create or replace function basalt.apply_missed_reports() returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    select basalt.apply_early_reports(array(
        select d.id from basalt.early_delivery_reports as r
        join public.notification_deliveries as d on d.provider = r.provider and d.provider_message_id = r.message_id
        where r.received_at > now() - interval '10 minutes'))
$$;

comment on function basalt.apply_missed_reports() is
    'Applies reports that came while the delivery they are about was written: neither saw the other.';

create or replace function basalt.take_early_reports() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform basalt.apply_early_reports(array(select a.id from added as a));
    return null;
end
$$;

comment on function basalt.take_early_reports() is 'Trigger: reports that came before the deliveries they are about.';

do $$
declare
    routine regprocedure;
begin
    foreach routine in array array[
        'basalt.apply_delivery_report(bigint, jsonb)', 'basalt.apply_delivery_reports(text, jsonb)',
        'basalt.apply_early_reports(bigint[])', 'basalt.apply_missed_reports()', 'basalt.take_early_reports()',
        'basalt.delivery_rank(text)']
    loop
        perform pg_temp.give_to_owner(routine);
        execute format('revoke execute on function %s from public', routine);
        execute format('grant execute on function %s to postgres, service_role', routine);
    end loop;
end
$$;

select pg_temp.become_owner();

create or replace trigger notification_deliveries_early_reports
    after insert on public.notification_deliveries
    referencing new table as added for each statement execute function basalt.take_early_reports();
