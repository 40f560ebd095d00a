-- The folders of `[storage.buckets.NAME] objects_path` are put into their buckets once, as seeds are.

create table if not exists basalt.seeded_buckets (
    bucket_id text primary key,
    seeded_at timestamptz not null default now()
);

comment on table basalt.seeded_buckets is 'Storage: Buckets that have got the files of their settings.';
alter table basalt.seeded_buckets enable row level security;
grant select, insert on basalt.seeded_buckets to supabase_storage_admin;
create policy "Storage keeps its seeds" on basalt.seeded_buckets to supabase_storage_admin
    using (true) with check (true);
