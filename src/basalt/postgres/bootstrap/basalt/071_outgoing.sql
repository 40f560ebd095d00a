-- Outgoing requests: webhooks that wait, what became of each attempt, those given up, and what the sender has in hand.

create or replace function basalt.url_host(url text) returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
return coalesce(lower(substring(url from '^[A-Za-z]+://(?:[^/?#]*@)?([^/?#]*)')), '');

comment on function basalt.url_host(text) is 'Host and port of a URL: what the sender bounds.';

create table if not exists basalt.outgoing_state (
    kind text primary key check (kind in ('request', 'webhook')),
    claimed_id bigint not null default 0,
    max_waiting bigint not null default 1000000,
    wants_wakeup boolean not null default false
) with (fillfactor = 50);

comment on table basalt.outgoing_state is
    'How far the sender has come with `net.http_…` and with webhooks, and whether it wants to be told of new ones.';
insert into basalt.outgoing_state (kind) values ('request'), ('webhook') on conflict do nothing;

create sequence if not exists basalt.webhook_requests_id_seq;

create table if not exists basalt.webhook_requests (
    id bigint primary key default nextval('basalt.webhook_requests_id_seq'),
    webhook_id uuid not null default gen_random_uuid(),
    request_id bigint,
    hook_name text not null,
    table_name text not null,
    method text not null,
    url text not null,
    host text generated always as (basalt.url_host(url)) stored,
    headers jsonb not null default '{}',
    body text,
    timeout_milliseconds integer not null,
    max_attempts integer check (max_attempts > 0),
    attempt integer not null default 0,
    run_at timestamptz not null default now(),
    worker_id uuid,
    created_at timestamptz not null default now()
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0);

comment on table basalt.webhook_requests is
    'Webhooks that wait or are being sent; one that is being sent is due again when its worker''s lease ends.';
create index if not exists webhook_requests_run_at_idx on basalt.webhook_requests (run_at, id);

create table if not exists basalt.webhook_attempts (
    id bigint generated always as identity primary key,
    webhook_id uuid not null,
    request_id bigint,
    hook_name text not null,
    table_name text not null,
    attempt integer not null,
    status_code integer,
    error_msg text,
    duration_ms integer,
    created_at timestamptz not null default now()
);

comment on table basalt.webhook_attempts is 'Every attempt to send a webhook and its answer, for as long as answers are kept.';
create index if not exists webhook_attempts_webhook_id_idx on basalt.webhook_attempts (webhook_id);
create index if not exists webhook_attempts_created_at_idx on basalt.webhook_attempts (created_at);

create table if not exists basalt.dead_webhooks (
    id bigint primary key,
    webhook_id uuid not null,
    request_id bigint,
    hook_name text not null,
    table_name text not null,
    method text not null,
    url text not null,
    headers jsonb not null,
    body text,
    timeout_milliseconds integer not null,
    max_attempts integer,
    attempt integer not null,
    created_at timestamptz not null,
    died_at timestamptz not null default now(),
    reason text not null
);

comment on table basalt.dead_webhooks is 'Webhooks that were given up, with the reason; `basalt.retry_webhook` sends one again.';
create index if not exists dead_webhooks_died_at_idx on basalt.dead_webhooks (died_at);

create table if not exists basalt.requests_in_flight (
    id bigint primary key,
    worker_id uuid not null,
    lease_until timestamptz not null
) with (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

comment on table basalt.requests_in_flight is
    'Requests of `net.http_…` that a worker is sending. They are sent once, so that one whose worker is killed is not sent again.';
create index if not exists requests_in_flight_lease_until_idx on basalt.requests_in_flight (lease_until);

-- A sequence counts without making writers wait for each other.
create sequence if not exists basalt.webhooks_left_out_seq;
comment on sequence basalt.webhooks_left_out_seq is 'Webhooks that were not queued because too many waited.';

alter table basalt.outgoing_state enable row level security;
alter table basalt.webhook_requests enable row level security;
alter table basalt.webhook_attempts enable row level security;
alter table basalt.dead_webhooks enable row level security;
alter table basalt.requests_in_flight enable row level security;

-- The sender works as `postgres`: a trigger that a project has put on net._http_response runs with the project's rights.
grant select, insert, update, delete
    on basalt.outgoing_state, basalt.webhook_requests, basalt.webhook_attempts, basalt.dead_webhooks,
        basalt.requests_in_flight
    to postgres;
grant usage, select on sequence basalt.webhook_requests_id_seq, basalt.webhooks_left_out_seq to postgres;
grant select on basalt.outgoing_state, basalt.webhook_requests, basalt.webhook_attempts, basalt.dead_webhooks,
    basalt.requests_in_flight to service_role;
grant select on sequence basalt.webhooks_left_out_seq to service_role;

-- Whoever queues does it through functions of supabase_functions_admin.
grant usage on schema basalt to supabase_functions_admin;
grant select on basalt.outgoing_state to supabase_functions_admin;
grant insert on basalt.webhook_requests to supabase_functions_admin;
grant usage on sequence basalt.webhook_requests_id_seq, basalt.webhooks_left_out_seq to supabase_functions_admin;
create policy "functions that queue look at the state" on basalt.outgoing_state
    for select to supabase_functions_admin using (true);
create policy "functions queue webhooks" on basalt.webhook_requests
    for insert to supabase_functions_admin with check (true);
