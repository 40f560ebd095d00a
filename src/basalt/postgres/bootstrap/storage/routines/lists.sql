-- Lists of one level of a bucket: objects there, and what lies deeper as folders. They run with the caller's rights.
--
-- Under row-level security only leakproof operators may enter an index below a policy: of those for text, the
-- comparisons are, `like` and lower() are not. A prefix is therefore the range from itself to itself followed by the last
-- code point, chr(1114111), in bytewise order, which is that of the index on (bucket_id, name collate "C").
--
-- The planner cannot know how much of a range the policies and a page leave over. Where it would rather read and sort a
-- folder for each probe, or the whole table, it is told not to.
set local role supabase_storage_admin;

create or replace function storage.get_common_prefix(p_key text, p_prefix text, p_delimiter text) returns text
language sql immutable
as $$
    select case
        when position(p_delimiter in substr(p_key, length(p_prefix) + 1)) > 0 and p_delimiter <> ''
            then left(p_key, length(p_prefix) + length(p_delimiter) - 1
                + position(p_delimiter in substr(p_key, length(p_prefix) + 1)))
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
set enable_sort = off
as $$
declare
    prefix text := coalesce(prefix_param, '');
    delimiter text := coalesce(delimiter_param, '');
    ascending boolean := lower(coalesce(sort_order, 'asc')) <> 'desc';
    token text := coalesce(nullif(next_token, ''), start_after, '');
    -- A folder is longer than the prefix: the object "a/" in the list of "a/" is none.
    is_folder boolean := delimiter <> '' and right(token, length(delimiter)) = delimiter and length(token) > length(prefix);
    -- What is still to come lies between these two, both exclusive.
    after text := '';
    before text collate "C" := prefix || chr(1114111);
    level refcursor;
    folder text;
    listed integer := 0;
begin
    if ascending then
        after := case when is_folder then token || chr(1114111) else token end;
    elsif token <> '' then
        before := least(before, token);
    end if;
    -- A row at a time: a folder's first object is all that is read of it, and the rest is left behind by entering the index
    -- again at its end.
    while listed < max_keys loop
        if ascending then
            open level for
                select o.name, o.id, o.metadata, o.updated_at, o.created_at, o.last_accessed_at
                from storage.objects as o
                where o.bucket_id = _bucket_id and o.name collate "C" >= prefix
                    and o.name collate "C" > after and o.name collate "C" < before
                order by o.name collate "C";
        else
            open level for
                select o.name, o.id, o.metadata, o.updated_at, o.created_at, o.last_accessed_at
                from storage.objects as o
                where o.bucket_id = _bucket_id and o.name collate "C" >= prefix
                    and o.name collate "C" > after and o.name collate "C" < before
                order by o.name collate "C" desc;
        end if;
        loop
            fetch level into name, id, metadata, updated_at, created_at, last_accessed_at;
            exit when not found;
            folder := storage.get_common_prefix(name, prefix, delimiter);
            if folder is not null then
                name := left(folder, -length(delimiter));
                id := null;
                metadata := null;
                updated_at := null;
                created_at := null;
                last_accessed_at := null;
            end if;
            return next;
            listed := listed + 1;
            exit when folder is not null or listed >= max_keys;
        end loop;
        close level;
        exit when id is not null or name is null;
        if ascending then
            after := folder || chr(1114111);
        else
            before := folder;
        end if;
    end loop;
end
$$;

comment on function storage.list_objects_with_delimiter(text, text, text, integer, text, text, text) is
    'One level below a prefix in bytewise order; a folder has no id, and its name is without its last delimiter. next_token '
    'and start_after are the last name of the page before, for a folder with its delimiter.';

create or replace function storage.list_multipart_uploads_with_delimiter(
    bucket_id text, prefix_param text, delimiter_param text, max_keys integer default 100,
    next_key_token text default '', next_upload_token text default '')
returns table (key text, id text, created_at timestamptz)
language sql stable
as $$
    with uploads as (
        select storage.get_common_prefix(u.key, prefix_param, delimiter_param) as folder, u.key, u.id, u.created_at
        from storage.s3_multipart_uploads as u
        where u.bucket_id = list_multipart_uploads_with_delimiter.bucket_id
            and u.key >= prefix_param and u.key < prefix_param || chr(1114111)
            and (
                u.key > coalesce(next_key_token, '')
                or (u.key = next_key_token and next_upload_token <> '' and u.id collate "C" > next_upload_token)
            )
    )
    select coalesce(u.folder, u.key) collate "C", min(u.id collate "C"), min(u.created_at)
    from uploads as u
    where u.folder is distinct from next_key_token
    group by coalesce(u.folder, u.key), case when u.folder is null then u.id end
    order by 1, 2
    limit max_keys
$$;

comment on function storage.list_multipart_uploads_with_delimiter(text, text, text, integer, text, text) is
    'One level of the uploads that are under way, by key and id; a folder once, with its delimiter. The tokens are the last '
    'key and id of the page before; without an id everything of that key is passed over.';

create or replace function storage.search(
    prefix text, bucketname text, limits integer default 100, levels integer default 1, offsets integer default 0,
    search text default '', sortcolumn text default 'name', sortorder text default 'asc')
returns table (
    name text, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz, metadata jsonb)
language plpgsql stable
set enable_sort = off
as $$
declare
    base text := coalesce(prefix, '');
    wanted text := lower(coalesce(search, '') collate "C");
    sort_column text := case
        when lower(sortcolumn) in ('updated_at', 'created_at', 'last_accessed_at') then lower(sortcolumn) else 'name' end;
    direction text := case when lower(sortorder) = 'desc' then 'desc' else 'asc' end;
    page_size integer := least(coalesce(limits, 100), 1500);
    to_skip bigint := greatest(coalesce(offsets, 0), 0);
    spelling text := upper(wanted collate "C");
    starts text[] := '{}';
    start text;
    entry record;
begin
    -- The ways in which what is wanted is spelled below the prefix, `Ab` before `ab`. What lies between two of them is left
    -- behind by entering the index at the next one that there could be.
    while spelling is not null loop
        select left(substr(o.name, length(base) + 1), length(wanted)) into spelling
        from storage.objects as o
        where o.bucket_id = bucketname and o.name collate "C" >= base || spelling
            and o.name collate "C" < base || chr(1114111)
        order by o.name collate "C" limit 1;
        if lower(spelling collate "C") = wanted then
            starts := starts || (base || spelling);
        end if;
        spelling := (
            select left(spelling, place)
                || case when there collate "C" < upper(letter collate "C") then upper(letter collate "C") else letter end
                || upper(substr(wanted, place + 2) collate "C")
            from generate_series(0, length(wanted) - 1) as place,
                substr(wanted, place + 1, 1) as letter, substr(spelling, place + 1, 1) as there
            where lower(left(spelling, place) collate "C") = left(wanted, place) and there collate "C" < letter
            order by place desc limit 1
        );
    end loop;

    if sort_column <> 'name' then
        return query execute format(
            $query$
            select substr(l.name, $1), l.id, l.updated_at, l.created_at, l.last_accessed_at, l.metadata
            from unnest($2) as start, storage.list_objects_with_delimiter($3, start, '/', 2147483647) as l
            order by l.id is not null, l.%1$I %2$s, l.name collate "C" %2$s
            limit $4 offset $5
            $query$,
            sort_column, direction)
        using length(base) + 1, starts, bucketname, page_size, to_skip;
        return;
    end if;

    if direction = 'desc' then
        starts := array(select s.start from unnest(starts) with ordinality as s(start, place) order by s.place desc);
    end if;
    foreach start in array starts loop
        for entry in
            select l.* from storage.list_objects_with_delimiter(
                bucketname, start, '/', least(page_size + to_skip, 2147483647)::integer, sort_order => direction) as l
        loop
            if to_skip > 0 then
                to_skip := to_skip - 1;
                continue;
            end if;
            name := substr(entry.name, length(base) + 1);
            id := entry.id;
            updated_at := entry.updated_at;
            created_at := entry.created_at;
            last_accessed_at := entry.last_accessed_at;
            metadata := entry.metadata;
            return next;
            page_size := page_size - 1;
        end loop;
        exit when page_size <= 0;
    end loop;
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
set enable_seqscan = off
as $$
declare
    base text := coalesce(prefix, '');
    page_size integer := least(coalesce(limits, 100), 1500);
    direction text := case when lower(sort_order) = 'desc' then 'desc' else 'asc' end;
    by_column text := case when lower(sort_column) in ('updated_at', 'created_at') then lower(sort_column) else 'name' end;
    after text := coalesce(start_after, '');
    is_folder boolean := right(after, 1) = '/' and length(after) > length(base);
begin
    if by_column = 'name' then
        -- A folder by its name as it was listed, without the slash.
        if after <> '' and not is_folder and exists (
            select from storage.objects as o
            where o.bucket_id = bucket_name and o.name collate "C" >= after || '/'
                and o.name collate "C" < after || '/' || chr(1114111)
        ) then
            after := after || '/';
        end if;
        return query
        select split_part(l.name, '/', levels), l.name, l.id, l.updated_at, l.created_at, l.last_accessed_at, l.metadata
        from storage.list_objects_with_delimiter(bucket_name, base, '/', page_size, after, '', direction) as l;
        return;
    end if;
    -- A folder is as old as what is oldest in it. Of entries with the same time and name the folder comes first, so that
    -- the object's name is past both.
    return query execute format(
        $query$
        with level as materialized (  -- or else || would come below the policies, and it is not leakproof
            select l.*, l.name || '/' as lowest, l.name || '/' || chr(1114111) as highest
            from storage.list_objects_with_delimiter($2, $1, '/', 2147483647) as l
        ),
        entries as (
            select l.name, l.id, coalesce(l.updated_at, below.begun_at) as updated_at,
                coalesce(l.created_at, below.begun_at) as created_at, l.last_accessed_at, l.metadata,
                case when isfinite(coalesce(l.%1$I, below.begun_at))
                    then date_trunc('milliseconds', coalesce(l.%1$I, below.begun_at)) else 'epoch' end as at
            from level as l
            cross join lateral (
                select min(o.created_at) as begun_at from storage.objects as o
                where l.id is null and o.bucket_id = $2
                    and o.name collate "C" >= l.lowest and o.name collate "C" < l.highest
            ) as below
        )
        select split_part(e.name, '/', $3), e.name, e.id, e.updated_at, e.created_at, e.last_accessed_at, e.metadata
        from entries as e
        where $8 or (e.at, e.name collate "C") %2$s ($5, $4)
            or ($6 and e.id is not null and e.name = $4 and e.at = $5)
        order by e.at %3$s, e.name collate "C" %3$s, e.id is not null
        limit $7
        $query$,
        by_column, case when direction = 'asc' then '>' else '<' end, direction)
    using base, bucket_name, levels, case when is_folder then left(after, -1) else after end,
        coalesce(nullif(sort_column_after, '')::timestamptz, 'epoch'), is_folder, page_size,
        after = '';  -- not by the name, which is empty for the folder "/"
end
$$;

comment on function storage.search_v2(text, text, integer, integer, text, text, text, text) is
    'One level below a prefix, page by page; start_after is the last name seen, sort_column_after its time.';
