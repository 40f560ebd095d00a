-- Buckets whose names begin with a word have policies of that kind; all others are the service role's alone.

-- "own-…": signed-in users have a folder each, named by their id.
create policy "users keep their own folder" on storage.objects for all to authenticated
    using (starts_with(bucket_id, 'own') and (storage.foldername(name))[1] = (select auth.uid()::text))
    with check (starts_with(bucket_id, 'own') and (storage.foldername(name))[1] = (select auth.uid()::text));

-- "open-…": anyone may do anything.
create policy "anyone may do anything" on storage.objects for all to anon, authenticated
    using (starts_with(bucket_id, 'open')) with check (starts_with(bucket_id, 'open'));

-- "shown-…": anyone reads, nobody writes.
create policy "anyone reads" on storage.objects for select to anon, authenticated
    using (starts_with(bucket_id, 'shown'));

-- "staff-…": by a claim of the token.
create policy "staff reads and writes" on storage.objects for all to authenticated
    using (starts_with(bucket_id, 'staff') and (select auth.jwt()) -> 'app_metadata' ->> 'job' = 'staff')
    with check (starts_with(bucket_id, 'staff') and (select auth.jwt()) -> 'app_metadata' ->> 'job' = 'staff');

-- "drop-…": anyone may put something in, and never sees it again.
create policy "anyone drops" on storage.objects for insert to anon, authenticated
    with check (starts_with(bucket_id, 'drop'));

create policy "open and shown buckets are seen" on storage.buckets for select to anon, authenticated
    using (starts_with(id, 'open') or starts_with(id, 'shown'));
