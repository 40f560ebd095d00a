-- The types of pgmq and what it knows of its queues; contract of pgmq 1.13. The queues themselves are tables that `pgmq.create` makes
-- for its caller: they are no members of the extension, so that a dump holds them and `drop extension` does not lose a message.
do $$
begin
    if to_regnamespace('pgmq_public') is null then
        create schema pgmq_public;
    end if;
end
$$;

create type pgmq.message_record as (
    msg_id bigint, read_ct integer, enqueued_at timestamptz, last_read_at timestamptz, vt timestamptz, message jsonb,
    headers jsonb);
create type pgmq.queue_record as (
    queue_name varchar, is_partitioned boolean, is_unlogged boolean, created_at timestamptz);
create type pgmq.metrics_result as (
    queue_name text, queue_length bigint, newest_msg_age_sec integer, oldest_msg_age_sec integer, total_messages bigint,
    scrape_time timestamptz, queue_visible_length bigint, default_partition_length bigint);

comment on type pgmq.message_record is 'A message as it is read.';
comment on type pgmq.queue_record is 'A queue in the list of queues.';
comment on type pgmq.metrics_result is 'Length and ages of a queue.';

create table pgmq.meta (
    queue_name varchar unique not null,
    is_partitioned boolean not null,
    is_unlogged boolean not null,
    created_at timestamptz not null default now()
);

comment on table pgmq.meta is 'The queues there are.';

create table pgmq.notify_insert_throttle (
    queue_name varchar unique not null references pgmq.meta (queue_name) on delete cascade,
    throttle_interval_ms integer not null default 0,
    last_notified_at timestamptz not null default to_timestamp(0)
);

comment on table pgmq.notify_insert_throttle is 'The queues that tell listeners of new messages, and how often at most.';

create table pgmq.notify_delete_throttle (
    queue_name varchar unique not null references pgmq.meta (queue_name) on delete cascade,
    throttle_interval_ms integer not null default 0,
    last_notified_at timestamptz not null default to_timestamp(0)
);

comment on table pgmq.notify_delete_throttle is 'The queues that tell listeners of deleted messages, and how often at most.';

-- `*` in a pattern is one segment of a routing key, `#` any text: `logs.*` takes `logs.error`, `logs.#` also `logs.api.error`.
create table pgmq.topic_bindings (
    pattern text not null,
    queue_name text not null references pgmq.meta (queue_name) on delete cascade,
    bound_at timestamptz not null default now(),
    compiled_regex text generated always as (
        '^' || replace(replace(regexp_replace(pattern, '([.+?{}()|\[\]\\^$])', '\\\1', 'g'), '*', '[^.]+'), '#', '.*') || '$'
    ) stored,
    unique (pattern, queue_name)
);

comment on table pgmq.topic_bindings is 'Which queues get the messages of which routing keys.';

-- Rows of an extension's tables are dumped only where it says so. On a server that is not ours these are plain tables.
do $$
begin
    if exists (select from pg_catalog.pg_extension where extname = 'pgmq') then
        perform pg_catalog.pg_extension_config_dump('pgmq.meta', '');
        perform pg_catalog.pg_extension_config_dump('pgmq.notify_insert_throttle', '');
        perform pg_catalog.pg_extension_config_dump('pgmq.notify_delete_throttle', '');
        perform pg_catalog.pg_extension_config_dump('pgmq.topic_bindings', '');
    end if;
end
$$;
