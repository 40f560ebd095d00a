-- Buckets of rate limits where the gateways of an installation count together (`basalt.rate_limit.store`). Unlogged: after a
-- crash of the server everybody begins anew, and no request waits for the disk.
create unlogged table if not exists basalt.rate_limits (
    key text primary key,
    full_at timestamptz not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);

comment on table basalt.rate_limits is
    'Gateway: when each bucket of a rate limit is full again. Rules, addresses and users are only here as a hash.';

alter table basalt.rate_limits enable row level security;
grant select, delete on basalt.rate_limits to postgres;
