-- Cached values. Schema and table belong to `postgres`, as if a migration of the project had made them: the project may add
-- indexes and policies of its own, and its `create … if not exists` finds them here.
create schema if not exists cache authorization postgres;

do $$
begin
    if pg_catalog.pg_has_role('postgres', 'member') then
        set local role postgres;
    end if;
end
$$;

create table if not exists cache.kv_store (
    key text primary key,
    value jsonb not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz
);
reset role;

comment on schema cache is 'Cached values: not part of the API.';
comment on table cache.kv_store is 'Cache: JSON values by key, each until it expires; those without an end stay.';

-- A project that comes along may have brought its own table.
select pg_temp.attempt('alter table cache.kv_store add column if not exists created_at timestamptz not null default now()');
select pg_temp.attempt('create index if not exists kv_store_expires_at_idx on cache.kv_store (expires_at)');
select pg_temp.attempt('alter table cache.kv_store enable row level security');
select pg_temp.attempt('grant usage on schema cache to service_role');
select pg_temp.attempt('grant select, insert, update, delete on cache.kv_store to service_role');

-- Who computes a missing value. The row goes when the value is there.
create table if not exists basalt.cache_leases (
    key text primary key,
    holder uuid not null,
    lease_until timestamptz not null,
    has_waiters boolean not null default false
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);

comment on table basalt.cache_leases is 'Cache: which process computes a value, and whether others wait for it.';
alter table basalt.cache_leases enable row level security;
grant select, insert, update, delete on basalt.cache_leases to postgres, service_role;
