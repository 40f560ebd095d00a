-- From the name of a queue to its tables. Names are folded to lower case, so that two spellings are one queue.

create or replace function pgmq.format_table_name(queue_name text, prefix text) returns text
language plpgsql immutable
as $$
begin
    if queue_name ~ '\$|;|--|''' then
        raise exception 'queue name contains invalid characters: $, ;, --, or \''';
    end if;
    return lower(prefix || '_' || queue_name);
end
$$;

comment on function pgmq.format_table_name(text, text) is 'The table of a queue: q_NAME holds its messages, a_NAME its archive.';

-- 63 bytes are an identifier: archived_at_idx_NAME leaves 47. Bytes count, or two long names in another script would be cut to
-- one table.
create or replace function pgmq.validate_queue_name(queue_name text) returns void
language plpgsql immutable
as $$
begin
    if queue_name is null or queue_name = '' then
        raise exception 'queue name cannot be NULL or empty';
    end if;
    if octet_length(queue_name) > 47 then
        raise exception 'queue name is too long, maximum length is 47 characters';
    end if;
end
$$;

comment on function pgmq.validate_queue_name(text) is 'Raises unless a queue may have this name.';

create or replace function pgmq.acquire_queue_lock(queue_name text) returns void
language sql
as $$
    select pg_advisory_xact_lock(hashtextextended('pgmq.queue_' || lower(queue_name), 0))
$$;

comment on function pgmq.acquire_queue_lock(text) is 'One at a time creates or drops a queue, until the transaction ends.';

create or replace function pgmq._queue_exists(queue_name text) returns boolean
language sql stable
as $$
    select to_regclass(format('pgmq.%I', pgmq.format_table_name(queue_name, 'q'))) is not null
$$;

comment on function pgmq._queue_exists(text) is 'Whether the queue has its table.';

-- The spelling under which the queue was created; null when there is none.
create or replace function pgmq._listed_name(queue_name text) returns text
language sql stable
as $$
    select m.queue_name from pgmq.meta as m where lower(m.queue_name) = lower(_listed_name.queue_name)
$$;

comment on function pgmq._listed_name(text) is 'The name in pgmq.meta, whatever case was asked for.';
