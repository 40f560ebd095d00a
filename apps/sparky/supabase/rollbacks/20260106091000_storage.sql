-- Undoes 20260106091000_storage.sql. Buckets that hold something stay: empty them by the Storage API first.
drop policy "users remove their own uploads" on storage.objects;
drop policy "users replace their own uploads" on storage.objects;
drop policy "users upload into their own folder" on storage.objects;
drop policy "users see files in their own folder" on storage.objects;
select set_config('storage.allow_delete_query', 'true', true);
delete from storage.buckets as b
where b.id in ('user_uploads', 'generations') and not exists (select from storage.objects where bucket_id = b.id);
