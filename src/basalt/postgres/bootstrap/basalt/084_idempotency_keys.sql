-- The first answer to each write that came with an `Idempotency-Key`.
--   claimed    nothing has been done yet; when the lease is over somebody else may begin
--   started    it was done, or may have been; without an answer nobody knows
--   answered   the answer is here
--   unkept     it was answered, and the answer was not kept
create table if not exists basalt.idempotency_keys (
    key_hash bytea primary key,
    request_hash bytea not null,
    holder uuid not null,
    state text not null check (state in ('claimed', 'started', 'answered', 'unkept')),
    lease_until timestamptz not null,
    status smallint,
    headers jsonb,
    body bytea,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    constraint idempotency_keys_answer_check
        check ((state = 'answered') = (status is not null and headers is not null and body is not null))
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);

comment on table basalt.idempotency_keys is
    'Gateway: first answers to writes with an Idempotency-Key. Callers, paths and keys are only here as a hash.';
create index if not exists idempotency_keys_expires_at_idx on basalt.idempotency_keys (expires_at);

alter table basalt.idempotency_keys enable row level security;
grant select, delete on basalt.idempotency_keys to postgres;
