-- One message to many queues: queues are bound to patterns, and a message goes to those whose pattern its routing key matches.

create or replace function pgmq._check_topic(what text, topic text) returns void
language plpgsql immutable
as $$
begin
    if topic is null or topic = '' then
        raise exception '% cannot be NULL or empty', what;
    elsif length(topic) > 255 then
        raise exception '% length cannot exceed 255 characters, got % characters', what, length(topic);
    elsif topic like '.%' then
        raise exception '% cannot start with a dot. Got: %', what, topic;
    elsif topic like '%.' then
        raise exception '% cannot end with a dot. Got: %', what, topic;
    elsif topic like '%..%' then
        raise exception '% cannot contain consecutive dots. Got: %', what, topic;
    end if;
end
$$;

comment on function pgmq._check_topic(text, text) is 'Raises unless the segments of a routing key or a pattern are well formed.';

create or replace function pgmq.validate_routing_key(routing_key text) returns boolean
language plpgsql immutable
as $$
begin
    if routing_key !~ '^[a-zA-Z0-9._-]+$' and routing_key <> '' and length(routing_key) <= 255 then
        raise exception 'routing_key contains invalid characters. Only alphanumeric, dots, hyphens, and underscores are allowed. '
            'Got: %', routing_key;
    end if;
    perform pgmq._check_topic('routing_key', routing_key);
    return true;
end
$$;

comment on function pgmq.validate_routing_key(text) is 'True, or an error that says what is wrong with a routing key.';

create or replace function pgmq.validate_topic_pattern(pattern text) returns boolean
language plpgsql immutable
as $$
begin
    if pattern !~ '^[a-zA-Z0-9._*#-]+$' and pattern <> '' and length(pattern) <= 255 then
        raise exception 'pattern contains invalid characters. Only alphanumeric, dots, hyphens, underscores, *, and # are allowed. '
            'Got: %', pattern;
    end if;
    perform pgmq._check_topic('pattern', pattern);
    if strpos(pattern, '**') > 0 then
        raise exception 'pattern cannot contain consecutive stars (**). Use # for multi-segment matching. Got: %', pattern;
    elsif strpos(pattern, '##') > 0 then
        raise exception 'pattern cannot contain consecutive hashes (##). A single # already matches zero or more segments. Got: %',
            pattern;
    elsif pattern ~ '\*#|#\*' then
        raise exception 'pattern cannot contain adjacent wildcards (*# or #*). Separate wildcards with dots. Got: %', pattern;
    end if;
    return true;
end
$$;

comment on function pgmq.validate_topic_pattern(text) is 'True, or an error that says what is wrong with a pattern.';

create or replace function pgmq.bind_topic(pattern text, queue_name text) returns void
language plpgsql
as $$
declare
    listed_name text := pgmq._listed_name(queue_name);
begin
    perform pgmq.validate_topic_pattern(pattern);
    if queue_name is null or queue_name = '' then
        raise exception 'queue_name cannot be NULL or empty';
    elsif listed_name is null then
        raise exception 'Queue "%" does not exist. Create the queue first using pgmq.create()', queue_name;
    end if;
    insert into pgmq.topic_bindings as b (pattern, queue_name)
    values (bind_topic.pattern, listed_name)
    on conflict do nothing;
end
$$;

comment on function pgmq.bind_topic(text, text) is 'Sends to a queue what has a routing key that matches the pattern.';

create or replace function pgmq.unbind_topic(pattern text, queue_name text) returns boolean
language plpgsql
as $$
begin
    if pattern is null or pattern = '' then
        raise exception 'pattern cannot be NULL or empty';
    elsif queue_name is null or queue_name = '' then
        raise exception 'queue_name cannot be NULL or empty';
    end if;
    delete from pgmq.topic_bindings as b
    where b.pattern = unbind_topic.pattern and b.queue_name = pgmq._listed_name(unbind_topic.queue_name);
    return found;
end
$$;

comment on function pgmq.unbind_topic(text, text) is 'Ends a binding; false when there is none.';

create or replace function pgmq.list_topic_bindings()
returns table (pattern text, queue_name text, bound_at timestamptz, compiled_regex text)
language sql stable
as $$
    select b.pattern, b.queue_name, b.bound_at, b.compiled_regex
    from pgmq.topic_bindings as b
    order by b.bound_at desc, b.pattern, b.queue_name
$$;

comment on function pgmq.list_topic_bindings() is 'The bindings there are, the newest first.';

create or replace function pgmq.list_topic_bindings(queue_name text)
returns table (pattern text, queue_name text, bound_at timestamptz, compiled_regex text)
language sql stable
as $$
    select b.pattern, b.queue_name, b.bound_at, b.compiled_regex
    from pgmq.topic_bindings as b
    where b.queue_name = pgmq._listed_name($1)
    order by b.bound_at desc, b.pattern
$$;

comment on function pgmq.list_topic_bindings(text) is 'The bindings of a queue, the newest first.';

create or replace function pgmq.test_routing(routing_key text)
returns table (pattern text, queue_name text, compiled_regex text)
language plpgsql stable
as $$
begin
    perform pgmq.validate_routing_key(routing_key);
    return query
        select b.pattern, b.queue_name, b.compiled_regex
        from pgmq.topic_bindings as b
        where routing_key ~ b.compiled_regex
        order by b.pattern, b.queue_name;
end
$$;

comment on function pgmq.test_routing(text) is 'Where a message with this routing key would go.';

create or replace function pgmq.send_topic(routing_key text, msg jsonb, headers jsonb, delay integer) returns integer
language plpgsql
as $$
declare
    sent_count integer;
begin
    if msg is null then
        raise exception 'msg cannot be NULL';
    elsif delay < 0 then
        raise exception 'delay cannot be negative, got: %', delay;
    end if;
    select count(*) into sent_count
    from (select distinct t.queue_name from pgmq.test_routing(routing_key) as t order by t.queue_name) as matched,
        lateral pgmq.send(matched.queue_name, msg, headers, delay);
    return sent_count;
end
$$;

comment on function pgmq.send_topic(text, jsonb, jsonb, integer) is
    'Sends a message with headers to every queue that the routing key matches, and returns how many there are.';

create or replace function pgmq.send_topic(routing_key text, msg jsonb) returns integer
language sql
as $$
    select pgmq.send_topic(routing_key, msg, null, 0)
$$;

comment on function pgmq.send_topic(text, jsonb) is
    'Sends a message to every queue that the routing key matches, and returns how many there are.';

create or replace function pgmq.send_topic(routing_key text, msg jsonb, delay integer) returns integer
language sql
as $$
    select pgmq.send_topic(routing_key, msg, null, delay)
$$;

comment on function pgmq.send_topic(text, jsonb, integer) is
    'Sends a message to every queue that the routing key matches, visible after so many seconds.';

create or replace function pgmq.send_batch_topic(routing_key text, msgs jsonb[], headers jsonb[], delay timestamptz)
returns table (queue_name text, msg_id bigint)
language plpgsql
as $$
begin
    perform pgmq._check_batch(msgs, headers);
    return query
        select matched.queue_name, sent.msg_id
        from (select distinct t.queue_name from pgmq.test_routing(routing_key) as t order by t.queue_name) as matched,
            lateral pgmq.send_batch(matched.queue_name, msgs, headers, delay) as sent (msg_id);
end
$$;

comment on function pgmq.send_batch_topic(text, jsonb[], jsonb[], timestamptz) is
    'Sends messages with headers to every queue that the routing key matches, and returns their queues and ids.';

create or replace function pgmq.send_batch_topic(routing_key text, msgs jsonb[])
returns table (queue_name text, msg_id bigint)
language sql
as $$
    select * from pgmq.send_batch_topic(routing_key, msgs, null::jsonb[], clock_timestamp())
$$;

comment on function pgmq.send_batch_topic(text, jsonb[]) is
    'Sends messages to every queue that the routing key matches, and returns their queues and ids.';

create or replace function pgmq.send_batch_topic(routing_key text, msgs jsonb[], headers jsonb[])
returns table (queue_name text, msg_id bigint)
language sql
as $$
    select * from pgmq.send_batch_topic(routing_key, msgs, headers, clock_timestamp())
$$;

comment on function pgmq.send_batch_topic(text, jsonb[], jsonb[]) is
    'Sends messages with headers to every queue that the routing key matches, and returns their queues and ids.';

create or replace function pgmq.send_batch_topic(routing_key text, msgs jsonb[], delay integer)
returns table (queue_name text, msg_id bigint)
language sql
as $$
    select * from pgmq.send_batch_topic(routing_key, msgs, null::jsonb[], clock_timestamp() + make_interval(secs => delay))
$$;

comment on function pgmq.send_batch_topic(text, jsonb[], integer) is
    'Sends messages to every queue that the routing key matches, visible after so many seconds.';

create or replace function pgmq.send_batch_topic(routing_key text, msgs jsonb[], delay timestamptz)
returns table (queue_name text, msg_id bigint)
language sql
as $$
    select * from pgmq.send_batch_topic(routing_key, msgs, null::jsonb[], delay)
$$;

comment on function pgmq.send_batch_topic(text, jsonb[], timestamptz) is
    'Sends messages to every queue that the routing key matches, visible from then on.';

create or replace function pgmq.send_batch_topic(routing_key text, msgs jsonb[], headers jsonb[], delay integer)
returns table (queue_name text, msg_id bigint)
language sql
as $$
    select * from pgmq.send_batch_topic(routing_key, msgs, headers, clock_timestamp() + make_interval(secs => delay))
$$;

comment on function pgmq.send_batch_topic(text, jsonb[], jsonb[], integer) is
    'Sends messages with headers to every queue that the routing key matches, visible after so many seconds.';
