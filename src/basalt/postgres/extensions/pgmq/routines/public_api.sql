-- What clients call over the API when `pgmq_public` is among the exposed schemas: Supabase's "Queues API", with its names and types.
-- These come and go with the extension, because their types are its types. They run with the rights of the caller: the
-- privileges and the row-level security of the queue's table decide.

create or replace function pgmq_public.send(queue_name text, message jsonb, sleep_seconds integer default 0)
returns setof bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    return query select * from pgmq.send(queue_name, message, sleep_seconds);
end
$$;

comment on function pgmq_public.send(text, jsonb, integer) is
    'Sends a message to the specified queue, optionally delaying its availability by a number of seconds.';

create or replace function pgmq_public.send_batch(queue_name text, messages jsonb[], sleep_seconds integer default 0)
returns setof bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    return query select * from pgmq.send_batch(queue_name, messages, sleep_seconds);
end
$$;

comment on function pgmq_public.send_batch(text, jsonb[], integer) is
    'Sends a batch of messages to the specified queue, optionally delaying their availability by a number of seconds.';

create or replace function pgmq_public.read(queue_name text, sleep_seconds integer, n integer)
returns setof pgmq.message_record
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    return query select * from pgmq.read(queue_name, sleep_seconds, n);
end
$$;

comment on function pgmq_public.read(text, integer, integer) is
    'Reads up to "n" messages from the specified queue and hides them for "sleep_seconds" (the visibility timeout).';

create or replace function pgmq_public.pop(queue_name text) returns setof pgmq.message_record
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    return query select * from pgmq.pop(queue_name);
end
$$;

comment on function pgmq_public.pop(text) is 'Reads the next message of the specified queue and deletes it.';

create or replace function pgmq_public.archive(queue_name text, message_id bigint) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    return pgmq.archive(queue_name, message_id);
end
$$;

comment on function pgmq_public.archive(text, bigint) is 'Moves a message from the specified queue to its archive.';

create or replace function pgmq_public.delete(queue_name text, message_id bigint) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    return pgmq.delete(queue_name, message_id);
end
$$;

comment on function pgmq_public.delete(text, bigint) is 'Permanently deletes a message from the specified queue.';
