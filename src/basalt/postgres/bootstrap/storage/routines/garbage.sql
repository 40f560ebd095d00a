-- Versions that no row names any more are noted in the same transaction; what is rolled back was never garbage. The functions
-- run as Storage, the only one who may write the note.
set local role supabase_storage_admin;

create or replace function storage.note_deleted_versions() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into basalt.storage_garbage as g (version)
    select distinct o.version from old_rows as o where o.version is not null
    on conflict (version) do update set since = excluded.since;
    return null;
end
$$;

comment on function storage.note_deleted_versions() is 'The bytes of deleted objects go later.';

create or replace function storage.note_replaced_versions() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into basalt.storage_garbage as g (version)
    select o.version from old_rows as o where o.version is not null
    except
    select n.version from new_rows as n
    on conflict (version) do update set since = excluded.since;
    return null;
end
$$;

comment on function storage.note_replaced_versions() is 'The bytes of replaced objects go later.';

-- Else whoever owns a table could make it note any version; the bytes of objects would not go by that, but the note is ours.
revoke execute on function storage.note_deleted_versions(), storage.note_replaced_versions()
    from public, postgres, anon, authenticated, service_role;

create or replace trigger note_deleted_versions after delete on storage.objects
    referencing old table as old_rows
    for each statement execute function storage.note_deleted_versions();
create or replace trigger note_replaced_versions after update on storage.objects
    referencing old table as old_rows new table as new_rows
    for each statement execute function storage.note_replaced_versions();
