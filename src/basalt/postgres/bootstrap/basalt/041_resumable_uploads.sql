-- Resumable uploads (TUS) that are under way or just finished. Their bytes are parts in the store, which is the truth about
-- how many have come; the row says what they will be, whose they are, and who works on them now.

create table if not exists basalt.resumable_uploads (
    id uuid primary key,
    bucket_id text not null,
    name text not null,
    metadata text not null,
    length bigint check (length >= 0),
    owner_id text,
    role text not null,
    is_signed boolean not null,
    is_upsert boolean not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    finished_at timestamptz,
    locked_by uuid,
    locked_until timestamptz,
    is_wanted boolean not null default false,
    lost_parts integer[] not null default '{}'
);

comment on table basalt.resumable_uploads is 'Storage: Resumable uploads that are under way.';
comment on column basalt.resumable_uploads.metadata is 'Upload-Metadata as it was sent.';
comment on column basalt.resumable_uploads.length is 'Bytes of the whole; null until the client knows.';
comment on column basalt.resumable_uploads.is_signed is 'Made with the token of a signed upload URL.';
comment on column basalt.resumable_uploads.locked_by is 'The request that works on it, until locked_until.';
comment on column basalt.resumable_uploads.is_wanted is 'Another request waits for the one that works on it.';
comment on column basalt.resumable_uploads.lost_parts is 'Numbers of parts that may turn up late and do not count.';
create index if not exists resumable_uploads_expires_at_idx on basalt.resumable_uploads (expires_at);

alter table basalt.resumable_uploads enable row level security;
grant usage on schema basalt to supabase_storage_admin;
grant select, insert, update, delete on basalt.resumable_uploads to supabase_storage_admin;
create policy "Storage keeps its uploads" on basalt.resumable_uploads to supabase_storage_admin
    using (true) with check (true);
