-- Enqueueing from SQL: part of the caller's transaction, so that a job exists exactly when what it is about does. And what
-- an operator asks of queues. Workers speak to the tables themselves.

create or replace function basalt.enqueue(
    name text, payload jsonb default '{}', queue text default null, priority integer default 5,
    delay interval default null, run_at timestamptz default null, key text default null, max_attempts integer default null)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    new_id bigint := nextval('basalt.jobs_id_seq');
    job_id bigint := new_id;
    queue_name text := coalesce(enqueue.queue, 'default');
    due timestamptz := coalesce(enqueue.run_at, now() + enqueue.delay, now());
    request_id text := nullif(current_setting('request.headers', true), '')::jsonb ->> 'x-request-id';
begin
    if enqueue.key is null then
        insert into basalt.jobs (id, position, queue, name, payload, priority, state, run_at, max_attempts, request_id)
        values (
            new_id, new_id, queue_name, enqueue.name, coalesce(enqueue.payload, '{}'), coalesce(enqueue.priority, 5),
            case when due > now() then 'scheduled' else 'ready' end, due, enqueue.max_attempts, request_id);
    else
        job_id := basalt.enqueue_once(
            new_id, queue_name, enqueue.name, coalesce(enqueue.payload, '{}'), coalesce(enqueue.priority, 5), due,
            enqueue.key, enqueue.max_attempts, request_id);
    end if;
    if job_id = new_id then
        perform basalt.admit_jobs(queue_name, 1, new_id);
        if due < now() + interval '1 second' then
            perform basalt.wake_workers(case when due > now() then 'scheduled' else 'ready' end);
        end if;
    end if;
    return job_id;
end
$$;

comment on function basalt.enqueue(text, jsonb, text, integer, interval, timestamptz, text, integer) is
    'Enqueues a job for a function or handler and returns its id, that of the earlier job where the key is taken.';

create or replace function basalt.enqueue_many(jobs jsonb)
returns bigint[]
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    job_count integer := jsonb_array_length(enqueue_many.jobs);
    ids bigint[] := array(select nextval('basalt.jobs_id_seq') from generate_series(1, job_count));
    caller_request_id text := nullif(current_setting('request.headers', true), '')::jsonb ->> 'x-request-id';
    caller_traceparent text := nullif(current_setting('request.headers', true), '')::jsonb ->> 'traceparent';
    new_queue text;
    new_count bigint;
    last_id bigint;
    news text;
    keyed record;
begin
    with wanted as (
        select
            ids[w.number] as id, coalesce(w.queue, 'default') as queue, w.name, coalesce(w.payload, '{}') as payload,
            coalesce(w.priority, 5) as priority, w.max_attempts, coalesce(w.request_id, caller_request_id) as request_id,
            coalesce(w.traceparent, caller_traceparent) as traceparent,
            coalesce(w.run_at, now() + make_interval(secs => w.delay_s), now()) as due
        from rows from (jsonb_to_recordset(enqueue_many.jobs) as (
            name text, payload jsonb, queue text, priority integer, delay_s double precision, run_at timestamptz, key text,
            max_attempts integer, request_id text, traceparent text)) with ordinality
            as w(name, payload, queue, priority, delay_s, run_at, key, max_attempts, request_id, traceparent, number)
        where w.key is null)
    insert into basalt.jobs (
        id, position, queue, name, payload, priority, state, run_at, max_attempts, request_id, traceparent)
    select
        w.id, w.id, w.queue, w.name, w.payload, w.priority, case when w.due > now() then 'scheduled' else 'ready' end, w.due,
        w.max_attempts, w.request_id, w.traceparent
    from wanted as w;

    -- In the order of their keys, so that two transactions do not wait for each other.
    for keyed in
        select w.*, coalesce(w.run_at, now() + make_interval(secs => w.delay_s), now()) as due
        from rows from (jsonb_to_recordset(enqueue_many.jobs) as (
            name text, payload jsonb, queue text, priority integer, delay_s double precision, run_at timestamptz, key text,
            max_attempts integer, request_id text, traceparent text)) with ordinality
            as w(name, payload, queue, priority, delay_s, run_at, key, max_attempts, request_id, traceparent, number)
        where w.key is not null
        order by w.name, w.key, w.number
    loop
        if keyed.traceparent is not null then  -- for the default of the column
            perform set_config('basalt.traceparent', keyed.traceparent, true);
        end if;
        ids[keyed.number] := basalt.enqueue_once(
            ids[keyed.number], coalesce(keyed.queue, 'default'), keyed.name, coalesce(keyed.payload, '{}'),
            coalesce(keyed.priority, 5), keyed.due, keyed.key, keyed.max_attempts,
            coalesce(keyed.request_id, caller_request_id));
        if keyed.traceparent is not null then
            perform set_config('basalt.traceparent', '', true);
        end if;
    end loop;

    for new_queue, new_count, last_id, news in
        select j.queue, count(*), max(j.id), min(j.state) filter (where j.run_at < now() + interval '1 second')
        from basalt.jobs as j
        where j.id = any (ids)
        group by j.queue
        order by j.queue
    loop
        perform basalt.admit_jobs(new_queue, new_count, last_id);
        if news is not null then
            perform basalt.wake_workers(news);
        end if;
    end loop;
    return ids;
end
$$;

comment on function basalt.enqueue_many(jsonb) is
    'Enqueues an array of {"name", "payload", "queue", "priority", "delay_s", "run_at", "key", "max_attempts", "request_id", '
    '"traceparent"}, '
    'all or none, and returns the ids in the same order.';

create or replace function basalt.enqueue_once(
    new_id bigint, queue text, name text, payload jsonb, priority integer, due timestamptz, key text, max_attempts integer,
    request_id text)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    made_id bigint;
    earlier_id bigint;
begin
    for round in 1..10 loop
        insert into basalt.jobs (id, position, queue, name, payload, priority, state, run_at, key, max_attempts, request_id)
        values (
            new_id, new_id, enqueue_once.queue, enqueue_once.name, enqueue_once.payload, enqueue_once.priority,
            case when due > now() then 'scheduled' else 'ready' end, due, enqueue_once.key, enqueue_once.max_attempts,
            enqueue_once.request_id)
        on conflict (name, key) where key is not null do nothing
        returning id into made_id;
        -- Afterwards, for it may have finished while the statement above waited for it to go.
        select f.id into earlier_id from basalt.finished_jobs as f
        where f.name = enqueue_once.name and f.key = enqueue_once.key and f.state = 'finished' and f.keep_until > now()
        limit 1;
        if earlier_id is not null then
            delete from basalt.jobs as j where j.id = made_id;
            return earlier_id;
        end if;
        if made_id is not null then
            return made_id;
        end if;
        select j.id into earlier_id from basalt.jobs as j where j.name = enqueue_once.name and j.key = enqueue_once.key;
        if earlier_id is not null then
            return earlier_id;
        end if;
    end loop;
    raise exception 'The key % of % comes and goes too fast', enqueue_once.key, enqueue_once.name
        using errcode = 'serialization_failure';
end
$$;

comment on function basalt.enqueue_once(bigint, text, text, jsonb, integer, timestamptz, text, integer, text) is
    'The job with a key: a new one, or the one that waits, runs or is kept as finished under the same name and key.';

-- Counting is dear, so that it is left until it must be: `jobs_id_seq` moves on with every job of every queue, and cannot
-- have brought more jobs since the last count than it has moved.
create or replace function basalt.admit_jobs(queue_name text, new_count bigint, last_id bigint)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    known basalt.queues;
    waiting bigint;
begin
    select q.* into known from basalt.queues as q where q.name = queue_name;
    if known.name is null then
        insert into basalt.queues (name, depth_id) values (queue_name, last_id - new_count) on conflict do nothing;
        select q.* into known from basalt.queues as q where q.name = queue_name;
    end if;
    if known.max_depth = 0 or known.depth + last_id - known.depth_id <= known.max_depth then
        return;
    end if;
    if known.depth >= known.max_depth and known.depth_at > clock_timestamp() - interval '1 second' then
        perform basalt.refuse_jobs(queue_name);
    end if;
    waiting := basalt.count_waiting_jobs(queue_name, known.floor, known.max_depth + new_count);
    if waiting > known.max_depth then
        perform basalt.refuse_jobs(queue_name);
    end if;
    -- Workers note the depth every second; where there are none, whoever counted does.
    if known.depth_at < clock_timestamp() - interval '3 seconds'
        and current_setting('transaction_isolation') in ('read committed', 'read uncommitted')
    then
        update basalt.queues as q set depth = waiting, depth_id = last_id, depth_at = clock_timestamp()
        from (select n.name from basalt.queues as n where n.name = queue_name for update skip locked) as free
        where q.name = free.name;
    end if;
end
$$;

comment on function basalt.admit_jobs(text, bigint, bigint) is
    'Raises PT429 where the queue, the new jobs included, has more waiting jobs than it may have.';

create or replace function basalt.count_waiting_jobs(queue_name text, floor bigint, most bigint)
returns bigint
language sql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
    select
        (select count(*) from (
            select from generate_series(0, 9) as p, basalt.jobs as j
            where j.state = 'ready' and j.queue = queue_name and j.priority = p and j.position >= count_waiting_jobs.floor
            limit most) as ready)
        + (select count(*) from (
            select from basalt.jobs as j where j.state = 'scheduled' and j.queue = queue_name and j.run_at > now()
            limit most) as scheduled)
$$;

comment on function basalt.count_waiting_jobs(text, bigint, bigint) is
    'Ready jobs from a position on and scheduled ones, each counted up to a bound.';

create or replace function basalt.refuse_jobs(queue_name text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    -- Until a hundredth of the queue has been worked off at the rate of the last minute.
    retry_after integer := coalesce((
        select ceil(greatest(q.max_depth, 100) / 100.0 / nullif(c.finished + c.dead, 0) * 60)
        from basalt.queues as q
        left join basalt.job_counts as c
            on c.queue = q.name and c.minute = date_trunc('minute', clock_timestamp()) - interval '1 minute'
        where q.name = queue_name), 5);
begin
    retry_after := least(greatest(retry_after, 1), 60);
    raise exception 'QUEUE_FULL: The queue % is full', queue_name using
        errcode = 'PT429',
        detail = jsonb_build_object('queue', queue_name, 'retry_after', retry_after)::text,
        hint = 'Try again later';
end
$$;

comment on function basalt.refuse_jobs(text) is 'Raises PT429 for a full queue.';

-- A notification costs every committing transaction that notifies a wait for the others (a lock of the whole cluster, held
-- until the commit is on disk). So it is sent only when somebody wants it: an idle worker holds this lock in shared mode.
-- One expression, for nothing can interrupt it between taking and giving back.
create or replace function basalt.wake_workers(news text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if (case when pg_try_advisory_lock(1650553711, 1) then not pg_advisory_unlock(1650553711, 1) else true end) then
        perform pg_notify('basalt_jobs', news);
    end if;
end
$$;

comment on function basalt.wake_workers(text) is
    'Tells idle workers, where there are any, that jobs are `ready` or soon due (`scheduled`) when this transaction has ended.';

create or replace function basalt.cancel_job(id bigint)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    for round in 1..10 loop
        with gone as (
            delete from basalt.jobs as j where j.id = cancel_job.id and j.state in ('scheduled', 'ready') returning j.*)
        insert into basalt.finished_jobs (id, queue, name, state, attempt, key, request_id, created_at, keep_until)
        select
            g.id, g.queue, g.name, 'cancelled', g.attempt, g.key, g.request_id, g.created_at,
            now() + make_interval(secs => coalesce(q.keep_finished_s, 0))
        from gone as g left join basalt.queues as q on q.name = g.queue;
        if found then
            return true;
        end if;
        update basalt.jobs as j set cancel_requested_at = coalesce(j.cancel_requested_at, now())
        where j.id = cancel_job.id and j.state = 'running';
        if found then
            perform pg_notify('basalt_jobs', cancel_job.id::text);
            return true;
        end if;
        if not exists (select from basalt.jobs as j where j.id = cancel_job.id) then
            return false;
        end if;
    end loop;
    return false;
end
$$;

comment on function basalt.cancel_job(bigint) is
    'Takes a waiting job away, or has the worker stop a running one. False where there is no such job any more.';

create or replace function basalt.job_status(id bigint)
returns jsonb
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'id', j.id, 'name', j.name, 'queue', j.queue, 'state', j.state, 'priority', j.priority, 'attempt', j.attempt,
        'max_attempts', j.max_attempts, 'key', j.key, 'request_id', j.request_id, 'created_at', j.created_at,
        'run_at', j.run_at, 'progress', j.progress, 'note', j.progress_note, 'last_error', j.last_error,
        'cancel_requested_at', j.cancel_requested_at))
    from basalt.jobs as j where j.id = job_status.id
    union all
    select jsonb_strip_nulls(jsonb_build_object(
        'id', d.id, 'name', d.name, 'queue', d.queue, 'state', 'dead', 'priority', d.priority, 'attempt', d.attempt,
        'max_attempts', d.max_attempts, 'key', d.key, 'request_id', d.request_id, 'created_at', d.created_at,
        'died_at', d.died_at, 'reason', d.reason))
    from basalt.dead_jobs as d where d.id = job_status.id
    union all
    select jsonb_strip_nulls(jsonb_build_object(
        'id', f.id, 'name', f.name, 'queue', f.queue, 'state', f.state, 'attempt', f.attempt, 'key', f.key,
        'request_id', f.request_id, 'created_at', f.created_at, 'finished_at', f.finished_at))
        || case when f.state = 'finished' then jsonb_build_object('result', f.result) else '{}' end
    from basalt.finished_jobs as f where f.id = job_status.id and f.keep_until > now()
    limit 1
$$;

comment on function basalt.job_status(bigint) is
    'How a job stands, as JSON: scheduled, ready, running, dead, or finished and cancelled where its queue keeps those. Null '
    'where it is not known (any more).';

create or replace function basalt.replay_dead(
    queue text default null, name text default null, ids bigint[] default null, most integer default null)
returns bigint
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    select basalt.wake_workers('ready');
    with chosen as (
        select d.* from basalt.dead_jobs as d
        where (replay_dead.queue is null or d.queue = replay_dead.queue)
            and (replay_dead.name is null or d.name = replay_dead.name)
            and (replay_dead.ids is null or d.id = any (replay_dead.ids))
        order by d.died_at, d.id
        limit replay_dead.most
        for update skip locked),
    revived as (
        insert into basalt.jobs (
            id, position, queue, name, payload, priority, max_attempts, key, request_id, created_at, last_error)
        select
            c.id, nextval('basalt.jobs_id_seq'), c.queue, c.name, c.payload, c.priority, c.max_attempts, c.key, c.request_id,
            c.created_at, c.reason
        from chosen as c
        on conflict do nothing
        returning id),
    gone as (delete from basalt.dead_jobs as d using revived as r where d.id = r.id returning d.id)
    select count(*) from gone
$$;

comment on function basalt.replay_dead(text, text, bigint[], integer) is
    'Makes dead letters jobs again, with all their attempts; the oldest first. One whose key another job has meanwhile stays. '
    'Returns how many.';

create or replace function basalt.purge_queue(queue text, what text default 'waiting')
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    gone bigint;
begin
    case what
        when 'waiting' then
            delete from basalt.jobs as j where j.queue = purge_queue.queue and j.state in ('scheduled', 'ready');
        when 'dead' then
            delete from basalt.dead_jobs as d where d.queue = purge_queue.queue;
        when 'finished' then
            delete from basalt.finished_jobs as f where f.queue = purge_queue.queue;
        else
            raise exception 'One purges what is waiting, dead or finished, not %', what using errcode = '22023';
    end case;
    get diagnostics gone = row_count;
    return gone;
end
$$;

comment on function basalt.purge_queue(text, text) is
    'Deletes the waiting jobs of a queue (not those that run), or its dead letters, or its finished jobs. Returns how many.';

create or replace function basalt.pause_queue(queue text)
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    insert into basalt.queues as q (name, is_paused) values (pause_queue.queue, true)
    on conflict (name) do update set is_paused = true
$$;

comment on function basalt.pause_queue(text) is 'No job of the queue starts until it is resumed; those that run go on.';

create or replace function basalt.resume_queue(queue text)
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    update basalt.queues as q set is_paused = false where q.name = resume_queue.queue;
    select basalt.wake_workers('ready')
$$;

comment on function basalt.resume_queue(text) is 'Jobs of a paused queue start again.';

create or replace function basalt.queue_stats()
returns table (
    queue text, is_paused boolean, ready bigint, scheduled bigint, running bigint, dead bigint,
    oldest_ready_age_s double precision, finished_last_minute bigint, retried_last_minute bigint, dead_last_minute bigint)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    with jobs as (
        select
            j.queue, count(*) filter (where j.state = 'ready') as ready,
            count(*) filter (where j.state = 'scheduled') as scheduled,
            count(*) filter (where j.state = 'running') as running,
            min(j.run_at) filter (where j.state = 'ready') as oldest_ready
        from basalt.jobs as j group by j.queue),
    dead as (select d.queue, count(*) as dead from basalt.dead_jobs as d group by d.queue)
    select
        q.name, q.is_paused, coalesce(j.ready, 0), coalesce(j.scheduled, 0), coalesce(j.running, 0), coalesce(d.dead, 0),
        greatest(extract(epoch from now() - j.oldest_ready), 0)::double precision,
        coalesce(c.finished, 0), coalesce(c.retried, 0), coalesce(c.dead, 0)
    from basalt.queues as q
    left join jobs as j on j.queue = q.name
    left join dead as d on d.queue = q.name
    left join basalt.job_counts as c on c.queue = q.name and c.minute = date_trunc('minute', now()) - interval '1 minute'
    order by q.name
$$;

comment on function basalt.queue_stats() is
    'Every queue with how many jobs wait, run and are dead, how long the oldest ready one has waited, and how many attempts '
    'ended in the last full minute.';

do $$
declare
    routine regprocedure;
begin
    foreach routine in array array[
        'basalt.enqueue(text, jsonb, text, integer, interval, timestamptz, text, integer)', 'basalt.enqueue_many(jsonb)',
        'basalt.cancel_job(bigint)', 'basalt.job_status(bigint)', 'basalt.replay_dead(text, text, bigint[], integer)',
        'basalt.purge_queue(text, text)', 'basalt.pause_queue(text)', 'basalt.resume_queue(text)', 'basalt.queue_stats()']
    loop
        execute format('revoke execute on function %s from public', routine);
        execute format('grant execute on function %s to postgres, service_role', routine);
    end loop;
    foreach routine in array array[
        'basalt.enqueue_once(bigint, text, text, jsonb, integer, timestamptz, text, integer, text)',
        'basalt.admit_jobs(text, bigint, bigint)', 'basalt.count_waiting_jobs(text, bigint, bigint)',
        'basalt.refuse_jobs(text)', 'basalt.wake_workers(text)']
    loop
        execute format('revoke execute on function %s from public', routine);
    end loop;
end
$$;
