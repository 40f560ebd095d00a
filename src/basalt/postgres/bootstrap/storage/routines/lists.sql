-- Lists of one level of a bucket: objects there, and what lies deeper as folders. They run with the caller's rights.
set local role supabase_storage_admin;

create or replace function storage.get_common_prefix(p_key text, p_prefix text, p_delimiter text) returns text
language sql immutable
as $$
    select case
        when position(p_delimiter in substr(p_key, length(p_prefix) + 1)) > 0
            then left(p_key, length(p_prefix) + position(p_delimiter in substr(p_key, length(p_prefix) + 1)))
    end
$$;

comment on function storage.get_common_prefix(text, text, text) is
    'The folder below the prefix that the key is in, with its delimiter; null when the key is not in one.';

create or replace function storage.list_objects_with_delimiter(
    _bucket_id text, prefix_param text, delimiter_param text, max_keys integer default 100,
    start_after text default '', next_token text default '', sort_order text default 'asc')
returns table (
    name text, id uuid, metadata jsonb, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz)
language plpgsql stable
as $$
declare
    prefix text := coalesce(prefix_param, '');
    pattern text := replace(replace(replace(coalesce(prefix_param, ''), '\', '\\'), '%', '\%'), '_', '\_') || '%';
    ascending boolean := lower(coalesce(sort_order, 'asc')) <> 'desc';
    -- Where to go on, exclusive. When it ends with the delimiter it names a folder, none of which follows.
    after text := coalesce(nullif(next_token, ''), nullif(start_after, ''));
    is_folder boolean;
    found_object storage.objects;
    folder text;
begin
    -- One probe of the index on (bucket_id, name) per entry: a folder is left behind whole, however many objects it has.
    for entry in 1 .. max_keys loop
        is_folder := coalesce(right(after, 1) = delimiter_param, false);
        if ascending then
            select o.* into found_object from storage.objects as o
            where o.bucket_id = _bucket_id and o.name collate "C" like pattern
                and o.name collate "C" >= greatest(
                    prefix collate "C",
                    case when is_folder then left(after, -1) || chr(ascii(delimiter_param) + 1) else after end collate "C")
                and (is_folder or o.name is distinct from after)
            order by o.name collate "C" limit 1;
        else
            select o.* into found_object from storage.objects as o
            where o.bucket_id = _bucket_id and o.name collate "C" like pattern
                and o.name collate "C" >= prefix
                and (after is null or o.name collate "C" < after)
            order by o.name collate "C" desc limit 1;
        end if;
        exit when found_object.id is null;
        folder := storage.get_common_prefix(found_object.name, prefix, delimiter_param);
        if folder is null then
            name := found_object.name;
            id := found_object.id;
            metadata := found_object.metadata;
            updated_at := found_object.updated_at;
            created_at := found_object.created_at;
            last_accessed_at := found_object.last_accessed_at;
            after := found_object.name;
        else
            name := rtrim(folder, delimiter_param);
            id := null;
            metadata := null;
            updated_at := null;
            created_at := null;
            last_accessed_at := null;
            after := folder;
        end if;
        return next;
    end loop;
end
$$;

comment on function storage.list_objects_with_delimiter(text, text, text, integer, text, text, text) is
    'One level below a prefix in bytewise order. next_token is the last name of the page before, with a trailing delimiter '
    'when that was a folder.';

create or replace function storage.list_multipart_uploads_with_delimiter(
    bucket_id text, prefix_param text, delimiter_param text, max_keys integer default 100,
    next_key_token text default '', next_upload_token text default '')
returns table (key text, id text, created_at timestamptz)
language sql stable
as $$
    select distinct on (entries.key collate "C") entries.key, entries.id, entries.created_at
    from (
        select coalesce(storage.get_common_prefix(u.key, prefix_param, delimiter_param), u.key) as key, u.id, u.created_at
        from storage.s3_multipart_uploads as u
        where u.bucket_id = list_multipart_uploads_with_delimiter.bucket_id
            and starts_with(u.key, prefix_param)
            and (next_upload_token = '' or u.id collate "C" > next_upload_token)
    ) as entries
    where next_key_token = '' or next_upload_token <> '' or entries.key collate "C" > next_key_token
    order by entries.key collate "C", entries.created_at
    limit max_keys
$$;

comment on function storage.list_multipart_uploads_with_delimiter(text, text, text, integer, text, text) is
    'One level of the uploads that are under way.';

create or replace function storage.search(
    prefix text, bucketname text, limits integer default 100, levels integer default 1, offsets integer default 0,
    search text default '', sortcolumn text default 'name', sortorder text default 'asc')
returns table (
    name text, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz, metadata jsonb)
language plpgsql stable
as $$
declare
    wanted text := lower(coalesce(prefix, '') || coalesce(search, ''));
    pattern text := replace(replace(replace(wanted, '\', '\\'), '%', '\%'), '_', '\_') || '%';
    sort_column text := case
        when lower(sortcolumn) in ('updated_at', 'created_at', 'last_accessed_at') then lower(sortcolumn) else 'name' end;
    direction text := case when lower(sortorder) = 'desc' then 'desc' else 'asc' end;
begin
    return query execute format(
        $query$
        with below as (
            select substr(o.name, length($1) + 1) as relative_name, o.* from storage.objects as o
            where o.bucket_id = $2 and lower(o.name) collate "C" like $3
        ),
        entries as (
            select split_part(b.relative_name, '/', 1) as name, null::uuid as id, null::timestamptz as updated_at,
                null::timestamptz as created_at, null::timestamptz as last_accessed_at, null::jsonb as metadata
            from below as b where position('/' in b.relative_name) > 0
            group by 1
            union all
            select b.relative_name, b.id, b.updated_at, b.created_at, b.last_accessed_at, b.metadata
            from below as b where position('/' in b.relative_name) = 0
        )
        select e.* from entries as e
        order by %s e.%I %s, e.name %s
        limit $4 offset $5
        $query$,
        case when sort_column = 'name' then '' else 'e.id is not null,' end,
        sort_column, direction, direction)
    using coalesce(prefix, ''), bucketname, pattern, least(coalesce(limits, 100), 1500), coalesce(offsets, 0);
end
$$;

comment on function storage.search(text, text, integer, integer, integer, text, text, text) is
    'One level below a prefix, names relative to it; search narrows to names that start with it, ignoring case.';

create or replace function storage.search_v2(
    prefix text, bucket_name text, limits integer default 100, levels integer default 1, start_after text default '',
    sort_order text default 'asc', sort_column text default 'name', sort_column_after text default '')
returns table (
    key text, name text, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz,
    metadata jsonb)
language plpgsql stable
as $$
declare
    page_size integer := least(coalesce(limits, 100), 1500);
    direction text := case when lower(sort_order) = 'desc' then 'desc' else 'asc' end;
    by_column text := case when lower(sort_column) in ('updated_at', 'created_at') then lower(sort_column) else 'name' end;
begin
    if by_column = 'name' then
        return query
        select split_part(l.name, '/', levels), l.name, l.id, l.updated_at, l.created_at, l.last_accessed_at, l.metadata
        from storage.list_objects_with_delimiter(
            bucket_name, coalesce(prefix, ''), '/', page_size, coalesce(start_after, ''), '', direction) as l;
        return;
    end if;
    return query execute format(
        $query$
        with below as (
            select storage.get_common_prefix(o.name, $1, '/') as folder, o.* from storage.objects as o
            where o.bucket_id = $2 and starts_with(o.name, $1)
        ),
        entries as (
            select rtrim(b.folder, '/') as name, null::uuid as id, min(b.created_at) as updated_at,
                min(b.created_at) as created_at, null::timestamptz as last_accessed_at, null::jsonb as metadata
            from below as b where b.folder is not null
            group by b.folder
            union all
            select b.name, b.id, b.updated_at, b.created_at, b.last_accessed_at, b.metadata
            from below as b where b.folder is null
        )
        select split_part(e.name, '/', $3), e.* from entries as e
        where $4 = '' or (date_trunc('milliseconds', e.%1$I), e.name collate "C")
            %2$s (coalesce(nullif($5, '')::timestamptz, 'epoch'), $4)
        order by date_trunc('milliseconds', e.%1$I) %3$s, e.name collate "C" %3$s
        limit $6
        $query$,
        by_column, case when direction = 'asc' then '>' else '<' end, direction)
    using coalesce(prefix, ''), bucket_name, levels, coalesce(start_after, ''), coalesce(sort_column_after, ''), page_size;
end
$$;

comment on function storage.search_v2(text, text, integer, integer, text, text, text, text) is
    'One level below a prefix, page by page; start_after is the last name seen, sort_column_after its time.';
