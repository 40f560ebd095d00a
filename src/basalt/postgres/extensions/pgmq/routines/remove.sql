-- What becomes of a message that is done: popped, deleted, or moved to the archive.

-- Reads and deletes in one statement: a reader that dies afterwards has lost the message.
create or replace function pgmq.pop(queue_name text, qty integer) returns setof pgmq.message_record
language plpgsql
as $$
begin
    return query execute format(
        'with due as (select m.msg_id from pgmq.%1$I as m where m.vt <= $1 order by m.msg_id limit $2 for update skip locked), '
        'popped as (delete from pgmq.%1$I as m where m.msg_id = any (array(select due.msg_id from due)) '
        'returning m.msg_id, m.read_ct, m.enqueued_at, m.last_read_at, m.vt, m.message, m.headers) '
        'select * from popped order by msg_id',
        pgmq.format_table_name(queue_name, 'q'))
        using clock_timestamp(), qty;
end
$$;

comment on function pgmq.pop(text, integer) is 'Reads messages and deletes them.';

create or replace function pgmq.pop(queue_name text) returns setof pgmq.message_record
language sql
as $$
    select pgmq.pop(queue_name, 1)
$$;

comment on function pgmq.pop(text) is 'Reads a message and deletes it.';

create or replace function pgmq.delete(queue_name text, msg_ids bigint[]) returns setof bigint
language plpgsql
as $$
begin
    return query execute format(
        'delete from pgmq.%I where msg_id = any ($1) returning msg_id', pgmq.format_table_name(queue_name, 'q'))
        using msg_ids;
end
$$;

comment on function pgmq.delete(text, bigint[]) is 'Deletes messages and returns the ids of those that were there.';

create or replace function pgmq.delete(queue_name text, msg_id bigint) returns boolean
language sql
as $$
    select exists (select from pgmq.delete(queue_name, array[msg_id]))
$$;

comment on function pgmq.delete(text, bigint) is 'Deletes a message; false when there is none.';

-- The archive is only written to: whoever archives needs no right to read it.
create or replace function pgmq.archive(queue_name text, msg_ids bigint[]) returns setof bigint
language plpgsql
as $$
begin
    return query execute format(
        'with done as (delete from pgmq.%I where msg_id = any ($1) '
        'returning msg_id, read_ct, enqueued_at, last_read_at, vt, message, headers), '
        'kept as (insert into pgmq.%I (msg_id, read_ct, enqueued_at, last_read_at, vt, message, headers) '
        'select msg_id, read_ct, enqueued_at, last_read_at, vt, message, headers from done) '
        'select msg_id from done',
        pgmq.format_table_name(queue_name, 'q'), pgmq.format_table_name(queue_name, 'a'))
        using msg_ids;
end
$$;

comment on function pgmq.archive(text, bigint[]) is
    'Moves messages to the archive and returns the ids of those that were there.';

create or replace function pgmq.archive(queue_name text, msg_id bigint) returns boolean
language sql
as $$
    select exists (select from pgmq.archive(queue_name, array[msg_id]))
$$;

comment on function pgmq.archive(text, bigint) is 'Moves a message to the archive; false when there is none.';
