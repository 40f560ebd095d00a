-- Queues come and go. Whoever calls these owns the tables: `postgres`, since nobody else may create in this schema.

-- A queue is updated and deleted at its head while its tail grows, so that it is vacuumed by count and not by its share of a
-- backlog: by default a queue of a million waiting messages would keep 200,000 dead ones before them, which every read
-- passes. It is analysed by count too, so that the planner knows when most messages are hidden: before 100,000 delayed ones
-- the index on vt finds the one that is due in 0.4 ms, the scan in order of msg_id in 14 ms. That index is also why a
-- fillfactor would win nothing: an update of vt is never heap-only.
create or replace function pgmq._make_queue(queue_name text, is_unlogged boolean) returns void
language plpgsql
set client_min_messages = warning
as $$
declare
    queue_table text := pgmq.format_table_name(queue_name, 'q');
    archive_table text := pgmq.format_table_name(queue_name, 'a');
    sequence_name text;
begin
    perform pgmq.validate_queue_name(queue_name);
    perform pgmq.acquire_queue_lock(queue_name);
    execute format(
        'create %s table if not exists pgmq.%I ('
        'msg_id bigint primary key generated always as identity, read_ct integer not null default 0, '
        'enqueued_at timestamptz not null default now(), last_read_at timestamptz, vt timestamptz not null, '
        'message jsonb, headers jsonb) with (autovacuum_vacuum_scale_factor = 0, '
        'autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0, '
        'autovacuum_analyze_threshold = 5000)',
        case when is_unlogged then 'unlogged' end, queue_table);
    execute format(
        'create table if not exists pgmq.%I ('
        'msg_id bigint primary key, read_ct integer not null default 0, enqueued_at timestamptz not null default now(), '
        'last_read_at timestamptz, archived_at timestamptz not null default now(), vt timestamptz not null, '
        'message jsonb, headers jsonb)', archive_table);
    execute format('create index if not exists %I on pgmq.%I (vt)', queue_table || '_vt_idx', queue_table);
    execute format(
        'create index if not exists %I on pgmq.%I (archived_at)', 'archived_at_idx_' || lower(queue_name), archive_table);
    sequence_name := pg_get_serial_sequence(format('pgmq.%I', queue_table), 'msg_id');
    if is_unlogged then
        -- A crash empties the queue. It must not give out ids again that are in the archive.
        execute format('alter sequence %s set logged', sequence_name);
    end if;
    execute format('grant all on pgmq.%I, pgmq.%I to postgres, service_role', queue_table, archive_table);
    execute format('grant select on pgmq.%I, pgmq.%I to pg_monitor', queue_table, archive_table);
    execute format('grant usage, select on sequence %s to postgres, service_role, pg_monitor', sequence_name);
    insert into pgmq.meta as m (queue_name, is_partitioned, is_unlogged)
    select _make_queue.queue_name, false, _make_queue.is_unlogged
    where pgmq._listed_name(_make_queue.queue_name) is null;
end
$$;

comment on function pgmq._make_queue(text, boolean) is 'Makes the tables of a queue and lists it, unless that is done.';

create or replace function pgmq.create(queue_name text) returns void
language sql
as $$
    select pgmq._make_queue(queue_name, false)
$$;

comment on function pgmq.create(text) is 'Makes a queue.';

create or replace function pgmq.create_non_partitioned(queue_name text) returns void
language sql
as $$
    select pgmq._make_queue(queue_name, false)
$$;

comment on function pgmq.create_non_partitioned(text) is 'Makes a queue.';

create or replace function pgmq.create_unlogged(queue_name text) returns void
language sql
as $$
    select pgmq._make_queue(queue_name, true)
$$;

comment on function pgmq.create_unlogged(text) is 'Makes a queue that a crash of the server empties; its archive stays.';

-- pgmq leaves partitions to pg_partman and its background worker. Here the queue is one table, and nothing of it is dropped.
create or replace function pgmq.create_partitioned(
    queue_name text, partition_interval text default '10000', retention_interval text default '100000',
    premake integer default 4)
returns void
language plpgsql
as $$
begin
    if premake < 1 then
        raise exception 'premake must be at least 1, got %', premake;
    end if;
    perform pgmq._make_queue(queue_name, false);
    raise notice 'queue "%" is one table: partitions are not made, and retention_interval % is not applied',
        queue_name, retention_interval
        using hint = 'Delete old rows of the archive with a schedule.';
end
$$;

comment on function pgmq.create_partitioned(text, text, text, integer) is
    'Makes a queue of one table, with a notice that it has no partitions.';

create or replace function pgmq.convert_archive_partitioned(
    table_name text, partition_interval text default '10000', retention_interval text default '100000',
    leading_partition integer default 10)
returns void
language plpgsql
as $$
begin
    if to_regclass(format('pgmq.%I', pgmq.format_table_name(table_name, 'a'))) is null then
        raise notice 'Table % does not exists', pgmq.format_table_name(table_name, 'a');
        return;
    end if;
    raise notice 'the archive of queue "%" stays one table: partitions are not made', table_name;
end
$$;

comment on function pgmq.convert_archive_partitioned(text, text, text, integer) is 'Leaves the archive as it is, with a notice.';

create or replace function pgmq.drop_queue(queue_name text) returns boolean
language plpgsql
as $$
begin
    perform pgmq.acquire_queue_lock(queue_name);
    if not pgmq._queue_exists(queue_name) then
        raise notice 'pgmq queue `%` does not exist', queue_name;
        return false;
    end if;
    execute format('drop table pgmq.%I', pgmq.format_table_name(queue_name, 'q'));
    execute format('drop table if exists pgmq.%I', pgmq.format_table_name(queue_name, 'a'));
    delete from pgmq.meta as m where lower(m.queue_name) = lower(drop_queue.queue_name);
    return true;
end
$$;

comment on function pgmq.drop_queue(text) is 'Removes a queue with its messages and its archive; false when there is none.';

create or replace function pgmq.drop_queue(queue_name text, partitioned boolean) returns boolean
language plpgsql
as $$
begin
    raise warning 'drop_queue(queue_name, partitioned) is deprecated and will be removed in PGMQ v2.0. '
        'Use drop_queue(queue_name) instead';
    return pgmq.drop_queue(queue_name);
end
$$;

comment on function pgmq.drop_queue(text, boolean) is 'The older form of drop_queue.';

create or replace function pgmq.purge_queue(queue_name text) returns bigint
language plpgsql
as $$
declare
    queue_table text := pgmq.format_table_name(queue_name, 'q');
    message_count bigint;
begin
    execute format('lock table pgmq.%I in access exclusive mode', queue_table);  -- so that the count is of what goes
    execute format('select count(*) from pgmq.%I', queue_table) into message_count;
    execute format('truncate table pgmq.%I', queue_table);
    return message_count;
end
$$;

comment on function pgmq.purge_queue(text) is 'Deletes every message of a queue and returns how many there were.';

create or replace function pgmq.list_queues() returns setof pgmq.queue_record
language sql
as $$
    select m.queue_name, m.is_partitioned, m.is_unlogged, m.created_at
    from pgmq.meta as m
    order by m.created_at, m.queue_name
$$;

comment on function pgmq.list_queues() is 'The queues there are, the oldest first.';

create or replace function pgmq.detach_archive(queue_name text) returns void
language plpgsql
as $$
begin
    raise warning 'detach_archive(queue_name) is deprecated and is a no-op. It will be removed in PGMQ v2.0. '
        'Archive tables are no longer member objects.';
end
$$;

comment on function pgmq.detach_archive(text) is 'Does nothing: an archive outlives the extension as it is.';
