-- Two buckets: what users upload, theirs alone; and what the server makes, public to whoever has the address.

insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types)
values
    ('user_uploads', 'user_uploads', false, 10485760, array['image/jpeg', 'image/png', 'image/webp']),
    ('generations', 'generations', true, 20971520, array['image/jpeg', 'image/png', 'image/webp'])
on conflict (id) do nothing;

-- A public bucket is read by address without a policy; for generations this one is for lists.
create policy "users see files in their own folder"
on storage.objects for select to authenticated
using (bucket_id in ('user_uploads', 'generations') and (storage.foldername(name))[1] = (select auth.uid())::text);

create policy "users upload into their own folder"
on storage.objects for insert to authenticated
with check (bucket_id = 'user_uploads' and (storage.foldername(name))[1] = (select auth.uid())::text);

create policy "users replace their own uploads"
on storage.objects for update to authenticated
using (bucket_id = 'user_uploads' and (storage.foldername(name))[1] = (select auth.uid())::text)
with check (bucket_id = 'user_uploads' and (storage.foldername(name))[1] = (select auth.uid())::text);

create policy "users remove their own uploads"
on storage.objects for delete to authenticated
using (bucket_id = 'user_uploads' and (storage.foldername(name))[1] = (select auth.uid())::text);

-- Nothing lets a client write into generations: only the service role does.
