-- What retention policies did.

create table if not exists basalt.retention_runs (
    id bigint generated always as identity primary key,
    policy text not null,
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    row_count bigint not null default 0,
    batch_count bigint not null default 0,
    error text
);

comment on table basalt.retention_runs is 'Runs of retention policies; one without an end was cut off, or is going on.';
create index if not exists retention_runs_policy_idx on basalt.retention_runs (policy, id desc);

alter table basalt.retention_runs enable row level security;
grant select, insert, update, delete on basalt.retention_runs to postgres;
