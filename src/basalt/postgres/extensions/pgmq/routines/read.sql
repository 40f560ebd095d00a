-- Reading: a message that is read is hidden until its visibility timeout (vt) is over, unless it was deleted or archived before.

-- `for update skip locked` gives each of many readers rows of its own, and the row is looked at again once it is locked: one that
-- another reader has hidden meanwhile is left out. The instant is a parameter and not clock_timestamp() in the text, so
-- that the index on vt can serve a queue with many delayed messages.
create or replace function pgmq._take(queue_name text, taken_at timestamptz, hidden_until timestamptz, qty integer, conditional jsonb)
returns setof pgmq.message_record
language plpgsql
as $$
begin
    return query execute format(
        'with due as (select m.msg_id from pgmq.%1$I as m '
        'where m.vt <= $1 and ($4 = ''{}'' or m.message @> $4) order by m.msg_id limit $3 for update skip locked), '
        'taken as (update pgmq.%1$I as m set vt = $2, read_ct = m.read_ct + 1, last_read_at = $1 '
        'where m.msg_id = any (array(select due.msg_id from due)) '
        'returning m.msg_id, m.read_ct, m.enqueued_at, m.last_read_at, m.vt, m.message, m.headers) '
        'select * from taken order by msg_id',
        pgmq.format_table_name(queue_name, 'q'))
        using taken_at, hidden_until, qty, coalesce(conditional, '{}');
end
$$;

comment on function pgmq._take(text, timestamptz, timestamptz, integer, jsonb) is
    'Messages that are visible at an instant, hidden until another one.';

-- With and without the condition these are two functions, where pgmq has one with a default: grants in migrations name either.
create or replace function pgmq.read(queue_name text, vt integer, qty integer, conditional jsonb)
returns setof pgmq.message_record
language sql
as $$
    select pgmq._take(queue_name, instant, instant + make_interval(secs => vt), qty, conditional)
    from clock_timestamp() as instant
$$;

comment on function pgmq.read(text, integer, integer, jsonb) is
    'Reads messages that contain this JSON and hides them for vt seconds.';

create or replace function pgmq.read(queue_name text, vt integer, qty integer) returns setof pgmq.message_record
language sql
as $$
    select pgmq.read(queue_name, vt, qty, '{}')
$$;

comment on function pgmq.read(text, integer, integer) is 'Reads messages and hides them for vt seconds.';

create or replace function pgmq.read(queue_name text, vt timestamptz, qty integer, conditional jsonb default '{}')
returns setof pgmq.message_record
language sql
as $$
    select pgmq._take(queue_name, clock_timestamp(), vt, qty, conditional)
$$;

comment on function pgmq.read(text, timestamptz, integer, jsonb) is 'Reads messages and hides them until vt.';

create or replace function pgmq.read_with_poll(
    queue_name text, vt integer, qty integer, max_poll_seconds integer default 5, poll_interval_ms integer default 100,
    conditional jsonb default '{}')
returns setof pgmq.message_record
language plpgsql
as $$
declare
    stop_at timestamptz := clock_timestamp() + make_interval(secs => max_poll_seconds);
begin
    loop
        return query select * from pgmq.read(queue_name, vt, qty, conditional);
        exit when found or not pgmq._wait(stop_at, poll_interval_ms);
    end loop;
end
$$;

comment on function pgmq.read_with_poll(text, integer, integer, integer, integer, jsonb) is
    'Reads messages and hides them for vt seconds, waiting for the first one.';

create or replace function pgmq.read_with_poll(
    queue_name text, vt timestamptz, qty integer, max_poll_seconds integer default 5,
    poll_interval_ms integer default 100, conditional jsonb default '{}')
returns setof pgmq.message_record
language plpgsql
as $$
declare
    stop_at timestamptz := clock_timestamp() + make_interval(secs => max_poll_seconds);
begin
    loop
        return query select * from pgmq.read(queue_name, vt, qty, conditional);
        exit when found or not pgmq._wait(stop_at, poll_interval_ms);
    end loop;
end
$$;

comment on function pgmq.read_with_poll(text, timestamptz, integer, integer, integer, jsonb) is
    'Reads messages and hides them until vt, waiting for the first one.';

create or replace function pgmq._wait(stop_at timestamptz, poll_interval_ms integer) returns boolean
language plpgsql
as $$
declare
    left_s double precision := extract(epoch from stop_at - clock_timestamp());
begin
    if left_s <= 0 then
        return false;
    end if;
    perform pg_sleep(least(left_s, poll_interval_ms / 1000.0));
    return true;
end
$$;

comment on function pgmq._wait(timestamptz, integer) is 'Sleeps until the next poll; false when the time is over.';

create or replace function pgmq.set_vt(queue_name text, msg_ids bigint[], vt timestamptz)
returns setof pgmq.message_record
language plpgsql
as $$
begin
    return query execute format(
        'with moved as (update pgmq.%1$I as m set vt = $2 where m.msg_id = any ($1) '
        'returning m.msg_id, m.read_ct, m.enqueued_at, m.last_read_at, m.vt, m.message, m.headers) '
        'select * from moved order by msg_id',
        pgmq.format_table_name(queue_name, 'q'))
        using msg_ids, vt;
end
$$;

comment on function pgmq.set_vt(text, bigint[], timestamptz) is 'Hides messages until vt and returns them.';

create or replace function pgmq.set_vt(queue_name text, msg_ids bigint[], vt integer) returns setof pgmq.message_record
language sql
as $$
    select pgmq.set_vt(queue_name, msg_ids, clock_timestamp() + make_interval(secs => vt))
$$;

comment on function pgmq.set_vt(text, bigint[], integer) is 'Hides messages for vt seconds from now and returns them.';

create or replace function pgmq.set_vt(queue_name text, msg_id bigint, vt timestamptz) returns setof pgmq.message_record
language sql
as $$
    select pgmq.set_vt(queue_name, array[msg_id], vt)
$$;

comment on function pgmq.set_vt(text, bigint, timestamptz) is 'Hides a message until vt and returns it.';

create or replace function pgmq.set_vt(queue_name text, msg_id bigint, vt integer) returns setof pgmq.message_record
language sql
as $$
    select pgmq.set_vt(queue_name, array[msg_id], clock_timestamp() + make_interval(secs => vt))
$$;

comment on function pgmq.set_vt(text, bigint, integer) is 'Hides a message for vt seconds from now and returns it.';
