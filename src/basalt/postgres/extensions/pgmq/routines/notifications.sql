-- `listen "pgmq.q_NAME.INSERT"` instead of polling: a trigger on the queue tells, at most once in throttle_interval_ms.

-- Runs with the rights of its owner, since whoever may send must not see or change the throttles. It tells once per statement.
-- The row of the throttle is not waited for: it would make all transactions that send to a queue wait for each other. Whoever holds
-- it tells the listeners when it commits.
create or replace function pgmq.notify_queue_listeners() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    queue_name constant text := tg_argv[0];
    throttles constant text := case tg_op when 'INSERT' then 'notify_insert_throttle' else 'notify_delete_throttle' end;
    is_due boolean;
begin
    execute format(
        'select throttle_interval_ms = 0 from pgmq.%1$I where queue_name = $1 and throttle_interval_ms = 0', throttles)
        into is_due using queue_name;
    if is_due is null then
        execute format(
            'with due as (select queue_name from pgmq.%1$I where queue_name = $1 '
            'and last_notified_at + throttle_interval_ms * interval ''1 millisecond'' <= clock_timestamp() '
            'for update skip locked) '
            'update pgmq.%1$I as t set last_notified_at = clock_timestamp() from due '
            'where t.queue_name = due.queue_name returning true', throttles)
            into is_due using queue_name;
    end if;
    if is_due then
        perform pg_catalog.pg_notify('pgmq.q_' || queue_name || '.' || tg_op, null);
    end if;
    return null;
end
$$;

comment on function pgmq.notify_queue_listeners() is 'Tells the listeners of a queue that messages came or went.';

create or replace function pgmq._notify_on(queue_name text, operation text, throttle_interval_ms integer) returns void
language plpgsql
set client_min_messages = warning
as $$
declare
    listed_name text := pgmq._listed_name(queue_name);
begin
    if throttle_interval_ms < 0 then
        raise exception 'throttle_interval_ms must be non-negative';
    end if;
    if listed_name is null or not pgmq._queue_exists(queue_name) then
        raise exception 'Queue "%" does not exist. Create it first using pgmq.create()', queue_name;
    end if;
    perform pgmq._notify_off(queue_name, operation);
    execute format('insert into pgmq.%I (queue_name, throttle_interval_ms) values ($1, $2)',
        format('notify_%s_throttle', operation))
        using listed_name, throttle_interval_ms;
    execute format(
        'create trigger %I after %s on pgmq.%I for each statement execute function pgmq.notify_queue_listeners(%L)',
        format('trigger_notify_queue_%s_listeners', operation), operation, pgmq.format_table_name(queue_name, 'q'),
        listed_name);
end
$$;

comment on function pgmq._notify_on(text, text, integer) is 'Begins to tell listeners of one kind of change.';

create or replace function pgmq._notify_off(queue_name text, operation text) returns void
language plpgsql
set client_min_messages = warning
as $$
begin
    execute format('drop trigger if exists %I on pgmq.%I',
        format('trigger_notify_queue_%s_listeners', operation), pgmq.format_table_name(queue_name, 'q'));
    execute format('delete from pgmq.%I where queue_name = $1', format('notify_%s_throttle', operation))
        using pgmq._listed_name(queue_name);
end
$$;

comment on function pgmq._notify_off(text, text) is 'Ceases to tell listeners of one kind of change.';

create or replace function pgmq._set_throttle(queue_name text, operation text, throttle_interval_ms integer) returns void
language plpgsql
as $$
declare
    listed_name text := pgmq._listed_name(queue_name);
    changed integer;
begin
    if throttle_interval_ms < 0 then
        raise exception 'throttle_interval_ms must be non-negative, got: %', throttle_interval_ms;
    end if;
    if listed_name is null then
        raise exception 'Queue "%" does not exist. Create the queue first using pgmq.create()', queue_name;
    end if;
    execute format(
        'update pgmq.%I set throttle_interval_ms = $2, last_notified_at = to_timestamp(0) where queue_name = $1',
        format('notify_%s_throttle', operation))
        using listed_name, throttle_interval_ms;
    get diagnostics changed = row_count;
    if changed = 0 then
        raise exception 'Queue "%" does not have notify_% enabled. Enable it first using pgmq.enable_notify_%()',
            queue_name, operation, operation;
    end if;
end
$$;

comment on function pgmq._set_throttle(text, text, integer) is 'Changes how often listeners are told.';

create or replace function pgmq.enable_notify_insert(queue_name text, throttle_interval_ms integer default 250) returns void
language sql
as $$
    select pgmq._notify_on(queue_name, 'insert', throttle_interval_ms)
$$;

comment on function pgmq.enable_notify_insert(text, integer) is 'Begins to tell listeners of new messages.';

create or replace function pgmq.disable_notify_insert(queue_name text) returns void
language sql
as $$
    select pgmq._notify_off(queue_name, 'insert')
$$;

comment on function pgmq.disable_notify_insert(text) is 'Ceases to tell listeners of new messages.';

create or replace function pgmq.update_notify_insert(queue_name text, throttle_interval_ms integer) returns void
language sql
as $$
    select pgmq._set_throttle(queue_name, 'insert', throttle_interval_ms)
$$;

comment on function pgmq.update_notify_insert(text, integer) is 'Changes how often listeners are told of new messages.';

create or replace function pgmq.list_notify_insert_throttles()
returns table (queue_name text, throttle_interval_ms integer, last_notified_at timestamptz)
language sql stable
as $$
    select t.queue_name, t.throttle_interval_ms, t.last_notified_at
    from pgmq.notify_insert_throttle as t
    order by t.queue_name
$$;

comment on function pgmq.list_notify_insert_throttles() is 'The queues that tell listeners of new messages.';

create or replace function pgmq.enable_notify_delete(queue_name text, throttle_interval_ms integer default 250) returns void
language sql
as $$
    select pgmq._notify_on(queue_name, 'delete', throttle_interval_ms)
$$;

comment on function pgmq.enable_notify_delete(text, integer) is 'Begins to tell listeners of deleted messages.';

create or replace function pgmq.disable_notify_delete(queue_name text) returns void
language sql
as $$
    select pgmq._notify_off(queue_name, 'delete')
$$;

comment on function pgmq.disable_notify_delete(text) is 'Ceases to tell listeners of deleted messages.';

create or replace function pgmq.update_notify_delete(queue_name text, throttle_interval_ms integer) returns void
language sql
as $$
    select pgmq._set_throttle(queue_name, 'delete', throttle_interval_ms)
$$;

comment on function pgmq.update_notify_delete(text, integer) is 'Changes how often listeners are told of deleted messages.';

create or replace function pgmq.list_notify_delete_throttles()
returns table (queue_name text, throttle_interval_ms integer, last_notified_at timestamptz)
language sql stable
as $$
    select t.queue_name, t.throttle_interval_ms, t.last_notified_at
    from pgmq.notify_delete_throttle as t
    order by t.queue_name
$$;

comment on function pgmq.list_notify_delete_throttles() is 'The queues that tell listeners of deleted messages.';
