-- Idempotency keys. Only the gateway's own login may call these: what a key belongs to is settled before, in the gateway.

-- `outcome` is claimed, in_progress, unknown, unkept, reused or answered; the rest belongs to an answer. Nothing here waits: a
-- write that is running holds its key's row, and even `insert … on conflict do nothing` would wait for its end. So claims of one
-- key take turns, and who finds another one at it comes again.
create or replace function basalt.claim_idempotency_key(
    claimed_hash bytea, claimed_request bytea, claimed_by uuid, is_recorded boolean, lease_s double precision,
    keep_s double precision, out outcome text, out status smallint, out headers jsonb, out body bytea)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    initial constant text := case when is_recorded then 'claimed' else 'started' end;
    lease_end constant timestamptz := now() + make_interval(secs => lease_s);
    life_end constant timestamptz := now() + make_interval(secs => keep_s);
    turn constant bigint := ('x' || encode(substr(claimed_hash, 1, 8), 'hex'))::bit(64)::bigint;
    known basalt.idempotency_keys;
begin
    select * into known from basalt.idempotency_keys as k
    where k.key_hash = claimed_hash and k.expires_at > now() and k.state in ('answered', 'unkept');
    if found then
        outcome := case when known.request_hash <> claimed_request then 'reused' else known.state end;
        if outcome = 'answered' then
            status := known.status;
            headers := known.headers;
            body := known.body;
        end if;
        return;
    end if;
    if not pg_try_advisory_xact_lock(turn) then
        outcome := 'in_progress';
        return;
    end if;
    select * into known from basalt.idempotency_keys as k where k.key_hash = claimed_hash for update skip locked;
    if not found then
        if exists (select from basalt.idempotency_keys as k where k.key_hash = claimed_hash) then
            outcome := 'in_progress';
            return;
        end if;
        insert into basalt.idempotency_keys (key_hash, request_hash, holder, state, lease_until, expires_at)
        values (claimed_hash, claimed_request, claimed_by, initial, lease_end, life_end);
        outcome := 'claimed';
    elsif known.state in ('answered', 'unkept') and known.expires_at > now() then
        outcome := 'in_progress';  -- it has been answered just now: the next look will tell
    elsif known.state = 'started' and known.expires_at > now()
        or known.state in ('claimed', 'started') and known.lease_until > now() then
        outcome := case
            when known.request_hash <> claimed_request then 'reused'
            when known.lease_until > now() then 'in_progress'
            else 'unknown' end;
    else
        update basalt.idempotency_keys as k
        set request_hash = claimed_request, holder = claimed_by, state = initial, lease_until = lease_end, status = null,
            headers = null, body = null, created_at = now(), expires_at = life_end
        where k.key_hash = claimed_hash;
        outcome := 'claimed';
    end if;
end
$$;

comment on function basalt.claim_idempotency_key(bytea, bytea, uuid, boolean, double precision, double precision) is
    'Takes a key for one request, or says what has become of it.';

-- In the transaction of the write: either both are committed or none. Who lost the key must not write.
create or replace function basalt.start_keyed_write(started_hash bytea, started_by uuid) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update basalt.idempotency_keys as k set state = 'started'
    where k.key_hash = started_hash and k.holder = started_by and k.state = 'claimed';
    if not found then
        raise exception 'Another request with the same Idempotency-Key has taken over'
        using errcode = 'PT409', hint = 'Send the request again';
    end if;
end
$$;

comment on function basalt.start_keyed_write(bytea, uuid) is
    'Records in a write''s own transaction that the key''s request was carried out.';

create or replace function basalt.extend_idempotency_key(extended_hash bytea, extended_by uuid, lease_s double precision)
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    update basalt.idempotency_keys as k set lease_until = now() + make_interval(secs => lease_s)
    from (select key_hash from basalt.idempotency_keys where key_hash = extended_hash and holder = extended_by
          for update skip locked) as mine
    where k.key_hash = mine.key_hash;
$$;

comment on function basalt.extend_idempotency_key(bytea, uuid, double precision) is
    'Says that the request is still being carried out.';

create or replace function basalt.settle_idempotency_key(
    settled_hash bytea, settled_by uuid, answer_status smallint, answer_headers jsonb, answer_body bytea, keep_s double precision)
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    update basalt.idempotency_keys as k
    set state = case when answer_status is null then 'unkept' else 'answered' end, status = answer_status, headers = answer_headers,
        body = answer_body, expires_at = now() + make_interval(secs => keep_s)
    where k.key_hash = settled_hash and k.holder = settled_by and k.state in ('claimed', 'started');
$$;

comment on function basalt.settle_idempotency_key(bytea, uuid, smallint, jsonb, bytea, double precision) is
    'Keeps the answer; without a status, that there was one.';

-- A row that is locked is left to its lease: the connection to a write may be lost before the write ends.
create or replace function basalt.free_idempotency_key(freed_hash bytea, freed_by uuid, is_recorded boolean) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    found_state text;
begin
    select k.state into found_state from basalt.idempotency_keys as k
    where k.key_hash = freed_hash and k.holder = freed_by for update skip locked;
    if found_state = 'claimed' or found_state = 'started' and not is_recorded then
        delete from basalt.idempotency_keys as k where k.key_hash = freed_hash;
    elsif found_state = 'started' then
        update basalt.idempotency_keys as k set lease_until = now() where k.key_hash = freed_hash;
    end if;
end
$$;

comment on function basalt.free_idempotency_key(bytea, uuid, boolean) is
    'Forgets a key whose request failed; where its write was committed all the same, its outcome is unknown from now on.';

create or replace function basalt.purge_idempotency_keys(batch_size integer) returns bigint
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    with expired as (
        select key_hash from basalt.idempotency_keys
        where expires_at <= now() and (lease_until <= now() or state in ('answered', 'unkept'))
        order by expires_at limit batch_size for update skip locked
    ), gone as (
        delete from basalt.idempotency_keys as k using expired where k.key_hash = expired.key_hash returning 1
    )
    select count(*) from gone;
$$;

comment on function basalt.purge_idempotency_keys(integer) is 'Removes keys whose time is over; how many.';

do $$
declare
    routine regprocedure;
begin
    for routine in
        select p.oid from pg_catalog.pg_proc as p
        where p.pronamespace = 'basalt'::regnamespace and p.proname in ('claim_idempotency_key', 'start_keyed_write',
            'extend_idempotency_key', 'settle_idempotency_key', 'free_idempotency_key', 'purge_idempotency_keys')
    loop
        execute format('revoke execute on function %s from public', routine);
        execute format('grant execute on function %s to authenticator', routine);
    end loop;
end
$$;

grant usage on schema basalt to authenticator;
grant execute on function basalt.purge_idempotency_keys(integer) to postgres, service_role;
