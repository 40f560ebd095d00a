-- What Storage has to take away, and who does so now. Triggers on `storage.objects` fill the first table
-- (`storage/routines/garbage.sql`), so that rows deleted by SQL count as well.

create table if not exists basalt.storage_garbage (
    version text primary key,
    since timestamptz not null default now()
);

comment on table basalt.storage_garbage is
    'Storage: Versions that rows of storage.objects have named; their bytes go unless a row names them again.';
create index if not exists storage_garbage_since_idx on basalt.storage_garbage (since);

create table if not exists basalt.storage_sweeps (
    kind text primary key,
    active_at timestamptz not null
);

comment on table basalt.storage_sweeps is
    'Storage: When a sweep was last at work; the next may begin some time after that, in any process.';

alter table basalt.storage_garbage enable row level security;
alter table basalt.storage_sweeps enable row level security;
grant usage on schema basalt to supabase_storage_admin;
grant select, insert, update, delete on basalt.storage_garbage, basalt.storage_sweeps to supabase_storage_admin;
create policy "Storage keeps its garbage" on basalt.storage_garbage to supabase_storage_admin
    using (true) with check (true);
create policy "Storage keeps its sweeps" on basalt.storage_sweeps to supabase_storage_admin
    using (true) with check (true);
