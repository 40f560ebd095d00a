-- Gateways remember rows of public buckets for whoever asks next; this tells them which of them no longer hold. Private
-- buckets are left out: their rows are asked for each time, and a notification makes writers wait for each other.
set local role supabase_storage_admin;

create or replace function storage.tell_changed_objects() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    changed text;
begin
    select pg_catalog.json_agg(pg_catalog.json_build_array(b.id, o.name)) into changed
    from before as o
    join storage.buckets as b on b.id = o.bucket_id
    where b.public;
    if changed is not null then
        -- A payload has at most 8000 bytes; an empty one stands for everything.
        perform pg_catalog.pg_notify(
            'basalt_storage', case when pg_catalog.octet_length(changed) < 7900 then changed else '' end);
    end if;
    return null;
end
$$;

create or replace function storage.tell_changed_buckets() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform pg_catalog.pg_notify('basalt_storage', '');
    return null;
end
$$;

revoke execute on function storage.tell_changed_objects(), storage.tell_changed_buckets() from public;
comment on function storage.tell_changed_objects() is 'Tells gateways which objects of public buckets have changed.';
comment on function storage.tell_changed_buckets() is 'Tells gateways that a bucket has changed.';

create or replace trigger tell_updated_objects after update on storage.objects
    referencing old table as before
    for each statement execute function storage.tell_changed_objects();
create or replace trigger tell_deleted_objects after delete on storage.objects
    referencing old table as before
    for each statement execute function storage.tell_changed_objects();
create or replace trigger tell_changed_buckets after update or delete on storage.buckets
    for each statement execute function storage.tell_changed_buckets();
