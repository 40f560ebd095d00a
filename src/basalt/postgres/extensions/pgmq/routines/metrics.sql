-- How long queues are, and how old what is in them. `now()` is the start of the transaction, as everywhere in one statement.

create or replace function pgmq.metrics(queue_name text) returns pgmq.metrics_result
language plpgsql
as $$
declare
    queue_table text := pgmq.format_table_name(queue_name, 'q');
    measured pgmq.metrics_result;
begin
    execute format(
        'select $1, count(*), extract(epoch from now() - max(m.enqueued_at))::integer, '
        'extract(epoch from now() - min(m.enqueued_at))::integer, '
        '(select case when s.is_called then s.last_value else 0 end from %s as s), now(), '
        'count(*) filter (where m.vt <= now()), null::bigint from pgmq.%I as m',
        pg_get_serial_sequence(format('pgmq.%I', queue_table), 'msg_id'), queue_table)
        into measured using queue_name;
    return measured;
end
$$;

comment on function pgmq.metrics(text) is 'Length and ages of a queue, and how many messages it ever had.';

create or replace function pgmq.metrics_all() returns setof pgmq.metrics_result
language sql
as $$
    select pgmq.metrics(m.queue_name) from pgmq.meta as m order by m.created_at, m.queue_name
$$;

comment on function pgmq.metrics_all() is 'Length and ages of every queue.';
