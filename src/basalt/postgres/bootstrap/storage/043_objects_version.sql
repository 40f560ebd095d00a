-- Whether any row still names a version is asked before its bytes are taken away.
set local role supabase_storage_admin;

create index if not exists objects_version_idx on storage.objects (version);
create index if not exists s3_multipart_uploads_created_at_idx on storage.s3_multipart_uploads (created_at);
