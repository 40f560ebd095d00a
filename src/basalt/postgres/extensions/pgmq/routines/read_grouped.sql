-- First in, first out within a group: the header `x-pgmq-group` names the group of a message, those without it are one group too.
-- A group whose oldest message is hidden (being worked on, or delayed) gives nothing, so that its order is kept by many readers.

-- The messages that grouped reads may take at an instant, in the order of one of the three ways:
--   'fill'  as many as there are of the oldest group, then of the next one;
--   'turns' the first of every group, then the second of every group, and so on;
--   'heads' the first of every group only.
-- The head of a group is locked: whoever holds it has the group, and the others pass it by. Of a group only the run of
-- visible messages from its head is taken, never one behind a hidden one.
create or replace function pgmq._take_grouped(queue_name text, hidden_until timestamptz, vt_seconds integer, qty integer, way text)
returns setof pgmq.message_record
language plpgsql
as $$
declare
    instant timestamptz := clock_timestamp();
begin
    return query execute format(
        'with heads as (select pgmq._group_of(m.headers) as name, min(m.msg_id) as msg_id from pgmq.%1$I as m group by 1), '
        'held as (select h.name, m.msg_id from heads as h join pgmq.%1$I as m on m.msg_id = h.msg_id '
        'where m.vt <= $1 order by m.msg_id limit $3 for update of m skip locked), '
        'runs as (select m.msg_id, held.msg_id as head_id, '
        'row_number() over by_age as position, bool_and(m.vt <= $1) over by_age as is_free '
        'from held join pgmq.%1$I as m on pgmq._group_of(m.headers) = held.name and m.msg_id >= held.msg_id '
        'window by_age as (partition by held.name order by m.msg_id)), '
        'chosen as (select msg_id, row_number() over (order by case $4 when ''fill'' then head_id else position end, '
        'case $4 when ''fill'' then position else head_id end) as turn '
        'from runs where is_free and (position = 1 or $4 <> ''heads'') and position <= $3), '
        'locked as (select m.msg_id from pgmq.%1$I as m '
        'where m.vt <= $1 and m.msg_id = any (array(select chosen.msg_id from chosen where turn <= $3)) '
        'order by m.msg_id for update skip locked), '
        'taken as (update pgmq.%1$I as m set vt = $2, read_ct = m.read_ct + 1, last_read_at = $1 '
        'where m.msg_id = any (array(select locked.msg_id from locked)) '
        'returning m.msg_id, m.read_ct, m.enqueued_at, m.last_read_at, m.vt, m.message, m.headers) '
        'select taken.* from taken join chosen using (msg_id) order by chosen.turn',
        pgmq.format_table_name(queue_name, 'q'))
        using instant, coalesce(hidden_until, instant + make_interval(secs => vt_seconds)), qty, way;
end
$$;

comment on function pgmq._take_grouped(text, timestamptz, integer, integer, text) is
    'Messages of groups whose oldest one is visible, hidden until an instant or for so many seconds.';

create or replace function pgmq._poll_grouped(
    queue_name text, hidden_until timestamptz, vt_seconds integer, qty integer, way text, max_poll_seconds integer,
    poll_interval_ms integer)
returns setof pgmq.message_record
language plpgsql
as $$
declare
    stop_at timestamptz := clock_timestamp() + make_interval(secs => max_poll_seconds);
begin
    loop
        return query select * from pgmq._take_grouped(queue_name, hidden_until, vt_seconds, qty, way);
        exit when found or not pgmq._wait(stop_at, poll_interval_ms);
    end loop;
end
$$;

comment on function pgmq._poll_grouped(text, timestamptz, integer, integer, text, integer, integer) is
    'A grouped read that waits for the first message.';

create or replace function pgmq._group_of(headers jsonb) returns text
language sql immutable parallel safe
as $$
    select coalesce(headers ->> 'x-pgmq-group', '_default_fifo_group')
$$;

comment on function pgmq._group_of(jsonb) is 'The group that a message is in.';

create or replace function pgmq.create_fifo_index(queue_name text) returns void
language plpgsql
set client_min_messages = warning
as $$
declare
    queue_table text := pgmq.format_table_name(queue_name, 'q');
begin
    execute format(
        'create index if not exists %I on pgmq.%I ((coalesce(headers ->> ''x-pgmq-group'', ''_default_fifo_group'')), msg_id)',
        queue_table || '_fifo_idx', queue_table);
end
$$;

comment on function pgmq.create_fifo_index(text) is 'Makes the index that grouped reads of a long queue use.';

create or replace function pgmq.create_fifo_indexes_all() returns void
language sql
as $$
    select pgmq.create_fifo_index(m.queue_name) from pgmq.meta as m
$$;

comment on function pgmq.create_fifo_indexes_all() is 'Makes the index for grouped reads on every queue.';

create or replace function pgmq.read_grouped(queue_name text, vt integer, qty integer) returns setof pgmq.message_record
language sql
as $$
    select pgmq._take_grouped(queue_name, null, vt, qty, 'fill')
$$;

comment on function pgmq.read_grouped(text, integer, integer) is
    'Reads messages in order within their groups, the oldest group first, and hides them for vt seconds.';

create or replace function pgmq.read_grouped(queue_name text, vt timestamptz, qty integer)
returns setof pgmq.message_record
language sql
as $$
    select pgmq._take_grouped(queue_name, vt, null, qty, 'fill')
$$;

comment on function pgmq.read_grouped(text, timestamptz, integer) is
    'Reads messages in order within their groups, the oldest group first, and hides them until vt.';

create or replace function pgmq.read_grouped_with_poll(
    queue_name text, vt integer, qty integer, max_poll_seconds integer default 5, poll_interval_ms integer default 100)
returns setof pgmq.message_record
language sql
as $$
    select pgmq._poll_grouped(queue_name, null, vt, qty, 'fill', max_poll_seconds, poll_interval_ms)
$$;

comment on function pgmq.read_grouped_with_poll(text, integer, integer, integer, integer) is
    'read_grouped that waits for the first message.';

create or replace function pgmq.read_grouped_with_poll(
    queue_name text, vt timestamptz, qty integer, max_poll_seconds integer default 5,
    poll_interval_ms integer default 100)
returns setof pgmq.message_record
language sql
as $$
    select pgmq._poll_grouped(queue_name, vt, null, qty, 'fill', max_poll_seconds, poll_interval_ms)
$$;

comment on function pgmq.read_grouped_with_poll(text, timestamptz, integer, integer, integer) is
    'read_grouped that waits for the first message.';

create or replace function pgmq.read_grouped_rr(queue_name text, vt integer, qty integer)
returns setof pgmq.message_record
language sql
as $$
    select pgmq._take_grouped(queue_name, null, vt, qty, 'turns')
$$;

comment on function pgmq.read_grouped_rr(text, integer, integer) is
    'Reads messages in order within their groups, one of each group in turn, and hides them for vt seconds.';

create or replace function pgmq.read_grouped_rr(queue_name text, vt timestamptz, qty integer)
returns setof pgmq.message_record
language sql
as $$
    select pgmq._take_grouped(queue_name, vt, null, qty, 'turns')
$$;

comment on function pgmq.read_grouped_rr(text, timestamptz, integer) is
    'Reads messages in order within their groups, one of each group in turn, and hides them until vt.';

create or replace function pgmq.read_grouped_rr_with_poll(
    queue_name text, vt integer, qty integer, max_poll_seconds integer default 5, poll_interval_ms integer default 100)
returns setof pgmq.message_record
language sql
as $$
    select pgmq._poll_grouped(queue_name, null, vt, qty, 'turns', max_poll_seconds, poll_interval_ms)
$$;

comment on function pgmq.read_grouped_rr_with_poll(text, integer, integer, integer, integer) is
    'read_grouped_rr that waits for the first message.';

create or replace function pgmq.read_grouped_rr_with_poll(
    queue_name text, vt timestamptz, qty integer, max_poll_seconds integer default 5,
    poll_interval_ms integer default 100)
returns setof pgmq.message_record
language sql
as $$
    select pgmq._poll_grouped(queue_name, vt, null, qty, 'turns', max_poll_seconds, poll_interval_ms)
$$;

comment on function pgmq.read_grouped_rr_with_poll(text, timestamptz, integer, integer, integer) is
    'read_grouped_rr that waits for the first message.';

create or replace function pgmq.read_grouped_head(queue_name text, vt integer, qty integer)
returns setof pgmq.message_record
language sql
as $$
    select pgmq._take_grouped(queue_name, null, vt, qty, 'heads')
$$;

comment on function pgmq.read_grouped_head(text, integer, integer) is
    'Reads the oldest message of several groups and hides them for vt seconds.';

create or replace function pgmq.read_grouped_head(queue_name text, vt timestamptz, qty integer)
returns setof pgmq.message_record
language sql
as $$
    select pgmq._take_grouped(queue_name, vt, null, qty, 'heads')
$$;

comment on function pgmq.read_grouped_head(text, timestamptz, integer) is
    'Reads the oldest message of several groups and hides them until vt.';

create or replace function pgmq.read_grouped_head_with_poll(
    queue_name text, vt integer, qty integer, max_poll_seconds integer default 5, poll_interval_ms integer default 100)
returns setof pgmq.message_record
language sql
as $$
    select pgmq._poll_grouped(queue_name, null, vt, qty, 'heads', max_poll_seconds, poll_interval_ms)
$$;

comment on function pgmq.read_grouped_head_with_poll(text, integer, integer, integer, integer) is
    'read_grouped_head that waits for the first message.';
