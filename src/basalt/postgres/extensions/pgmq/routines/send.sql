-- Sending. As all functions that touch messages these run with the rights and the search path of their caller: table privileges,
-- row-level security and the user's own triggers on the queue see the session as it is.

create or replace function pgmq.send(queue_name text, msg jsonb, headers jsonb, delay timestamptz) returns setof bigint
language plpgsql
as $$
begin
    return query execute format(
        'insert into pgmq.%I (vt, message, headers) values ($1, $2, $3) returning msg_id',
        pgmq.format_table_name(queue_name, 'q'))
        using delay, msg, headers;
end
$$;

comment on function pgmq.send(text, jsonb, jsonb, timestamptz) is
    'Sends a message with headers, visible from then on, and returns its id.';

create or replace function pgmq.send(queue_name text, msg jsonb) returns setof bigint
language sql
as $$
    select pgmq.send(queue_name, msg, null::jsonb, clock_timestamp())
$$;

comment on function pgmq.send(text, jsonb) is 'Sends a message and returns its id.';

create or replace function pgmq.send(queue_name text, msg jsonb, headers jsonb) returns setof bigint
language sql
as $$
    select pgmq.send(queue_name, msg, headers, clock_timestamp())
$$;

comment on function pgmq.send(text, jsonb, jsonb) is 'Sends a message with headers and returns its id.';

create or replace function pgmq.send(queue_name text, msg jsonb, delay integer) returns setof bigint
language sql
as $$
    select pgmq.send(queue_name, msg, null::jsonb, clock_timestamp() + make_interval(secs => delay))
$$;

comment on function pgmq.send(text, jsonb, integer) is 'Sends a message, visible after so many seconds, and returns its id.';

create or replace function pgmq.send(queue_name text, msg jsonb, delay timestamptz) returns setof bigint
language sql
as $$
    select pgmq.send(queue_name, msg, null::jsonb, delay)
$$;

comment on function pgmq.send(text, jsonb, timestamptz) is 'Sends a message, visible from then on, and returns its id.';

create or replace function pgmq.send(queue_name text, msg jsonb, headers jsonb, delay integer) returns setof bigint
language sql
as $$
    select pgmq.send(queue_name, msg, headers, clock_timestamp() + make_interval(secs => delay))
$$;

comment on function pgmq.send(text, jsonb, jsonb, integer) is
    'Sends a message with headers, visible after so many seconds, and returns its id.';

create or replace function pgmq._check_batch(msgs jsonb[], headers jsonb[]) returns void
language plpgsql immutable
as $$
begin
    if cardinality(msgs) is null or cardinality(msgs) = 0 then
        raise exception 'msgs cannot be NULL or empty';
    end if;
    if cardinality(headers) <> cardinality(msgs) then
        raise exception 'headers array length (%) must match msgs array length (%)', cardinality(headers), cardinality(msgs);
    end if;
end
$$;

comment on function pgmq._check_batch(jsonb[], jsonb[]) is 'Raises unless there are messages, each with its headers or none.';

create or replace function pgmq.send_batch(queue_name text, msgs jsonb[], headers jsonb[], delay timestamptz)
returns setof bigint
language plpgsql
as $$
begin
    perform pgmq._check_batch(msgs, headers);
    return query execute format(
        'insert into pgmq.%I (vt, message, headers) '
        'select $1, sent.message, sent.headers from unnest($2, $3) with ordinality as sent (message, headers, position) '
        'order by sent.position returning msg_id',
        pgmq.format_table_name(queue_name, 'q'))
        using delay, msgs, headers;
end
$$;

comment on function pgmq.send_batch(text, jsonb[], jsonb[], timestamptz) is
    'Sends messages with headers, visible from then on, and returns their ids in order.';

create or replace function pgmq.send_batch(queue_name text, msgs jsonb[]) returns setof bigint
language sql
as $$
    select pgmq.send_batch(queue_name, msgs, null::jsonb[], clock_timestamp())
$$;

comment on function pgmq.send_batch(text, jsonb[]) is 'Sends messages and returns their ids in order.';

create or replace function pgmq.send_batch(queue_name text, msgs jsonb[], headers jsonb[]) returns setof bigint
language sql
as $$
    select pgmq.send_batch(queue_name, msgs, headers, clock_timestamp())
$$;

comment on function pgmq.send_batch(text, jsonb[], jsonb[]) is 'Sends messages with headers and returns their ids in order.';

create or replace function pgmq.send_batch(queue_name text, msgs jsonb[], delay integer) returns setof bigint
language sql
as $$
    select pgmq.send_batch(queue_name, msgs, null::jsonb[], clock_timestamp() + make_interval(secs => delay))
$$;

comment on function pgmq.send_batch(text, jsonb[], integer) is
    'Sends messages, visible after so many seconds, and returns their ids in order.';

create or replace function pgmq.send_batch(queue_name text, msgs jsonb[], delay timestamptz) returns setof bigint
language sql
as $$
    select pgmq.send_batch(queue_name, msgs, null::jsonb[], delay)
$$;

comment on function pgmq.send_batch(text, jsonb[], timestamptz) is
    'Sends messages, visible from then on, and returns their ids in order.';

create or replace function pgmq.send_batch(queue_name text, msgs jsonb[], headers jsonb[], delay integer)
returns setof bigint
language sql
as $$
    select pgmq.send_batch(queue_name, msgs, headers, clock_timestamp() + make_interval(secs => delay))
$$;

comment on function pgmq.send_batch(text, jsonb[], jsonb[], integer) is
    'Sends messages with headers, visible after so many seconds, and returns their ids in order.';
