-- What policies ask of an object's name and of the operation that is under way. Plain SQL, so that the planner can inline them.
set local role supabase_storage_admin;

create or replace function storage.foldername(name text) returns text[]
language sql immutable
as $$
    select (string_to_array(name, '/'))[1 : cardinality(string_to_array(name, '/')) - 1]
$$;

comment on function storage.foldername(text) is 'Every segment of the path but the last: a/b/c.txt gives {a,b}.';

create or replace function storage.filename(name text) returns text
language sql immutable
as $$
    select (string_to_array(name, '/'))[cardinality(string_to_array(name, '/'))]
$$;

comment on function storage.filename(text) is 'The last segment of the path.';

create or replace function storage.extension(name text) returns text
language sql immutable
as $$
    select reverse(split_part(reverse(split_part(name, '/', -1)), '.', 1))
$$;

comment on function storage.extension(text) is
    'What follows the last dot of the last segment; the whole segment when it has none.';

create or replace function storage.operation() returns text
language sql stable
as $$
    select current_setting('storage.operation', true)
$$;

comment on function storage.operation() is 'What the Storage API is doing, storage.object.upload for one; empty elsewhere.';

create or replace function storage.allow_any_operation(expected_operations text[]) returns boolean
language sql stable
as $$
    select exists (
        select from unnest(expected_operations) as expected
        where expected <> ''
            and regexp_replace(expected, '^storage\.', '')
                = regexp_replace(current_setting('storage.operation', true), '^storage\.', '')
    )
$$;

comment on function storage.allow_any_operation(text[]) is
    'Whether the operation is one of these, named with or without the prefix "storage.".';

create or replace function storage.allow_only_operation(expected_operation text) returns boolean
language sql stable
as $$
    select storage.allow_any_operation(array[expected_operation])
$$;

comment on function storage.allow_only_operation(text) is 'Whether the operation is this one.';

create or replace function storage.can_insert_object(bucketid text, name text, owner uuid, metadata jsonb) returns void
language plpgsql
as $$
begin
    insert into storage.objects (bucket_id, name, owner, metadata) values (bucketid, name, owner, metadata);
    -- Getting here means yes; the error takes the row away again.
    raise sqlstate 'PT200' using message = 'ROLLBACK', detail = 'rollback successful insert';
end
$$;

comment on function storage.can_insert_object(text, text, uuid, jsonb) is
    'Tries the insert as the caller and takes it back: raises PT200 when it is allowed.';

create or replace function storage.get_size_by_bucket() returns table (size bigint, bucket_id text)
language sql stable
as $$
    select sum((o.metadata ->> 'size')::bigint)::bigint, o.bucket_id from storage.objects as o group by o.bucket_id
$$;

comment on function storage.get_size_by_bucket() is 'Bytes per bucket, of the objects that the caller may see.';
