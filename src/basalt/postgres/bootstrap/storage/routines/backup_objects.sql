-- New versions of objects are noted for the archive, in the same transaction. The functions run as Storage, the only one
-- who may write the note.
set local role supabase_storage_admin;

create or replace function storage.note_inserted_versions() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (select from basalt.backup_tracking) then
        insert into basalt.backup_objects (version)
        select distinct n.version from new_rows as n where n.version is not null
        on conflict (version) do nothing;
    end if;
    return null;
end
$$;

comment on function storage.note_inserted_versions() is 'The archive takes the bytes of new objects.';

create or replace function storage.note_changed_versions() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (select from basalt.backup_tracking) then
        insert into basalt.backup_objects (version)
        select n.version from new_rows as n where n.version is not null
        except
        select o.version from old_rows as o
        on conflict (version) do nothing;
    end if;
    return null;
end
$$;

comment on function storage.note_changed_versions() is 'The archive takes the bytes of replaced objects.';

revoke execute on function storage.note_inserted_versions(), storage.note_changed_versions()
    from public, postgres, anon, authenticated, service_role;

create or replace trigger note_inserted_versions after insert on storage.objects
    referencing new table as new_rows
    for each statement execute function storage.note_inserted_versions();
create or replace trigger note_changed_versions after update on storage.objects
    referencing old table as old_rows new table as new_rows
    for each statement execute function storage.note_changed_versions();
