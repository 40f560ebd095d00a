-- The types and the list of queues of pgmq.
create type pgmq.message_record as (
    msg_id bigint, read_ct integer, enqueued_at timestamptz, vt timestamptz, message jsonb);
create type pgmq.queue_record as (
    queue_name varchar, is_partitioned boolean, is_unlogged boolean, created_at timestamptz);
create type pgmq.metrics_result as (
    queue_name text, queue_length bigint, newest_msg_age_sec integer, oldest_msg_age_sec integer, total_messages bigint,
    scrape_time timestamptz);

create table pgmq.meta (
    queue_name varchar unique not null,
    is_partitioned boolean not null,
    is_unlogged boolean not null,
    created_at timestamptz not null default now()
);

comment on table pgmq.meta is 'The queues there are.';

grant usage on schema pgmq to postgres with grant option;
grant usage on schema pgmq to service_role;
grant select on pgmq.meta to postgres with grant option;
grant select on pgmq.meta to service_role;
