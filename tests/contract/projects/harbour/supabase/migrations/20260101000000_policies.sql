insert into storage.buckets (id, name) values ('cargo', 'cargo') on conflict do nothing;

create policy "members keep their own folder" on storage.objects for all to authenticated
    using (bucket_id = 'cargo' and (storage.foldername(name))[1] = (select auth.uid()::text))
    with check (bucket_id = 'cargo' and (storage.foldername(name))[1] = (select auth.uid()::text));
