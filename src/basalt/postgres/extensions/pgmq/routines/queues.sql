-- The functions of pgmq with their signatures. Queues come with Basalt's worker.

create or replace function pgmq.refuse(routine text) returns bigint
language plpgsql
set search_path = ''
as $$
begin
    raise exception 'pgmq.% needs Basalt''s queues, which this version does not have yet', routine
        using errcode = 'feature_not_supported';
end
$$;

comment on function pgmq.refuse(text) is 'The error that the functions of this schema raise for now.';

-- name, arguments, result: each body is the refusal.
do $do$
declare
    routine record;
begin
    for routine in
        select *
        from (values
            ('create', 'queue_name text', 'void', 'Makes a queue.'),
            ('create_non_partitioned', 'queue_name text', 'void', 'Makes a queue.'),
            ('create_unlogged', 'queue_name text', 'void', 'Makes a queue that a crash empties.'),
            ('create_partitioned', 'queue_name text, partition_interval text default ''10000'', retention_interval text default ''100000''',
                'void', 'Makes a partitioned queue.'),
            ('drop_queue', 'queue_name text', 'boolean', 'Removes a queue with its messages.'),
            ('list_queues', '', 'setof pgmq.queue_record', 'The queues there are.'),
            ('purge_queue', 'queue_name text', 'bigint', 'Deletes every message of a queue.'),
            ('detach_archive', 'queue_name text', 'void', 'Takes the archive table out of the extension.'),
            ('send', 'queue_name text, msg jsonb', 'setof bigint', 'Sends a message and returns its id.'),
            ('send', 'queue_name text, msg jsonb, delay integer', 'setof bigint', 'Sends a message, visible after so many seconds.'),
            ('send', 'queue_name text, msg jsonb, delay timestamptz', 'setof bigint', 'Sends a message, visible from then on.'),
            ('send_batch', 'queue_name text, msgs jsonb[]', 'setof bigint', 'Sends messages and returns their ids.'),
            ('send_batch', 'queue_name text, msgs jsonb[], delay integer', 'setof bigint',
                'Sends messages, visible after so many seconds.'),
            ('send_batch', 'queue_name text, msgs jsonb[], delay timestamptz', 'setof bigint',
                'Sends messages, visible from then on.'),
            ('read', 'queue_name text, vt integer, qty integer', 'setof pgmq.message_record',
                'Reads messages and hides them for vt seconds.'),
            ('read_with_poll', 'queue_name text, vt integer, qty integer, max_poll_seconds integer default 5, poll_interval_ms integer default 100',
                'setof pgmq.message_record', 'Reads messages, waiting for the first one.'),
            ('pop', 'queue_name text', 'setof pgmq.message_record', 'Reads a message and deletes it.'),
            ('set_vt', 'queue_name text, msg_id bigint, vt integer', 'setof pgmq.message_record',
                'Hides a message for so many seconds from now.'),
            ('archive', 'queue_name text, msg_id bigint', 'boolean', 'Moves a message to the archive.'),
            ('archive', 'queue_name text, msg_ids bigint[]', 'setof bigint', 'Moves messages to the archive.'),
            ('delete', 'queue_name text, msg_id bigint', 'boolean', 'Deletes a message.'),
            ('delete', 'queue_name text, msg_ids bigint[]', 'setof bigint', 'Deletes messages.'),
            ('metrics', 'queue_name text', 'pgmq.metrics_result', 'Length and ages of a queue.'),
            ('metrics_all', '', 'setof pgmq.metrics_result', 'Length and ages of every queue.')
        ) as t (name, arguments, result, sentence)
    loop
        execute format(
            'create or replace function pgmq.%I(%s) returns %s language plpgsql set search_path = '''' '
            'as $f$ begin perform pgmq.refuse(%L); end $f$',
            routine.name, routine.arguments, routine.result, routine.name);
        execute format(
            'comment on function pgmq.%I(%s) is %L',
            routine.name, regexp_replace(routine.arguments, ' default ''[^'']*''| default \d+', '', 'g'), routine.sentence);
    end loop;
end
$do$;

revoke execute on all functions in schema pgmq from public;
grant execute on all functions in schema pgmq to postgres with grant option;
grant execute on all functions in schema pgmq to service_role;
