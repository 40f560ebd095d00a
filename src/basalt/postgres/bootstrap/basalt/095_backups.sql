-- Backups as their makers saw them. What is at the target counts; this is for lists, schedules and alerts.
create table if not exists basalt.backups (
    id text primary key,
    kind text not null check (kind in ('physical', 'logical', 'wal_gap')),
    state text not null default 'running' check (state in ('running', 'complete', 'failed')),
    target text not null,
    started_at timestamptz not null default now(),
    ended_at timestamptz,
    size_bytes bigint,
    error text,
    constraint backups_ended_check check ((state = 'running') = (ended_at is null))
);

comment on table basalt.backups is
    'Attempts at backups, and gaps in the archive of the log. The age of the newest complete one is what to watch.';
create index if not exists backups_started_at_idx on basalt.backups (started_at desc);

-- While the log is archived, the bytes of an object go to the target before the part of the log that names them.
create table if not exists basalt.backup_tracking (
    only_row boolean primary key default true check (only_row),
    since timestamptz not null default now()
);

comment on table basalt.backup_tracking is 'Whether new versions of objects are noted in basalt.backup_objects.';

create table if not exists basalt.backup_objects (
    version text primary key
) with (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);

comment on table basalt.backup_objects is 'Versions of objects that the archive has not taken yet.';

alter table basalt.backups enable row level security;
alter table basalt.backup_tracking enable row level security;
alter table basalt.backup_objects enable row level security;
grant select on basalt.backups to postgres, service_role;
create policy "operators read backups" on basalt.backups for select to postgres, service_role using (true);
grant select on basalt.backup_tracking to supabase_storage_admin;
grant select, insert on basalt.backup_objects to supabase_storage_admin;
create policy "Storage looks whether versions are noted" on basalt.backup_tracking for select to supabase_storage_admin
    using (true);
create policy "Storage notes versions" on basalt.backup_objects to supabase_storage_admin using (true) with check (true);
