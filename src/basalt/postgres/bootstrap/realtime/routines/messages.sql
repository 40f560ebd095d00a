-- Broadcast from the database: what triggers and functions of a project call.
set local role supabase_realtime_admin;

create or replace function realtime.topic() returns text
language sql stable
as $$
    select nullif(current_setting('realtime.topic', true), '')
$$;

comment on function realtime.topic() is 'The channel that a policy on realtime.messages decides about.';

create or replace function realtime.ensure_message_partitions() returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    day date;
begin
    for day in select d::date from generate_series(current_date - 1, current_date + 3, interval '1 day') as d loop
        execute format(
            'create table if not exists realtime.%I partition of realtime.messages for values from (%L) to (%L)',
            'messages_' || to_char(day, 'YYYY_MM_DD'), day, day + 1);
    end loop;
end
$$;

comment on function realtime.ensure_message_partitions() is
    'Partitions of realtime.messages from yesterday to three days ahead; safe to repeat, harmless for anybody to call.';

create or replace function realtime.drop_old_message_partitions() returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    partition text;
begin
    for partition in
        select c.relname
        from pg_catalog.pg_inherits as i
        join pg_catalog.pg_class as c on c.oid = i.inhrelid
        where i.inhparent = 'realtime.messages'::regclass
            and c.relname ~ '^messages_[0-9]{4}_[0-9]{2}_[0-9]{2}$'
            and to_date(substr(c.relname, 10), 'YYYY_MM_DD') < current_date - 3
    loop
        execute format('drop table if exists realtime.%I', partition);
    end loop;
end
$$;

comment on function realtime.drop_old_message_partitions() is
    'Drops the partitions of realtime.messages whose last message is older than 72 hours.';
revoke execute on function realtime.drop_old_message_partitions() from public;
grant execute on function realtime.drop_old_message_partitions() to postgres;

create or replace function realtime.send(payload jsonb, event text, topic text, private boolean default true) returns void
language plpgsql
as $$
declare
    message_id uuid := gen_random_uuid();
begin
    if to_regclass('realtime.messages_' || to_char(now()::timestamp, 'YYYY_MM_DD')) is null then
        perform realtime.ensure_message_partitions();
    end if;
    perform set_config('realtime.topic', topic, true);
    insert into realtime.messages (id, payload, event, topic, private, extension)
    values (
        message_id,
        case when payload ? 'id' then payload else payload || jsonb_build_object('id', message_id) end,
        event, topic, private, 'broadcast');
exception
    when others then
        raise warning 'WarnSendingBroadcastMessage: %', sqlerrm;
end
$$;

comment on function realtime.send(jsonb, text, text, boolean) is
    'Broadcasts a message once the transaction commits. An error is a warning: the caller''s own work goes on.';

create or replace function realtime.send_binary(payload bytea, event text, topic text, private boolean default true)
returns void
language plpgsql
as $$
begin
    if to_regclass('realtime.messages_' || to_char(now()::timestamp, 'YYYY_MM_DD')) is null then
        perform realtime.ensure_message_partitions();
    end if;
    perform set_config('realtime.topic', topic, true);
    insert into realtime.messages (binary_payload, event, topic, private, extension)
    values (payload, event, topic, private, 'broadcast');
exception
    when others then
        raise warning 'WarnSendingBroadcastMessage: %', sqlerrm;
end
$$;

comment on function realtime.send_binary(bytea, text, text, boolean) is 'Broadcasts bytes once the transaction commits.';

create or replace function realtime.broadcast_changes(
    topic_name text, event_name text, operation text, table_name text, table_schema text, new record, old record,
    level text default 'ROW')
returns void
language plpgsql
as $$
begin
    if level = 'STATEMENT' then
        raise exception 'function can only be triggered for each row, not for each statement';
    end if;
    if operation not in ('INSERT', 'UPDATE', 'DELETE') then
        raise exception 'Unexpected operation type: %', operation;
    end if;
    perform realtime.send(
        jsonb_build_object(
            'operation', operation, 'schema', table_schema, 'table', table_name, 'record', new, 'old_record', old),
        event_name, topic_name);
exception
    when others then
        raise exception 'Failed to process the row: %', sqlerrm;
end
$$;

comment on function realtime.broadcast_changes(text, text, text, text, text, record, record, text) is
    'For row triggers: broadcasts the change of a row to a private channel.';

select realtime.ensure_message_partitions();
