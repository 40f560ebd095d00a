"""Indexes and keys that are missing, doubled or broken."""

from collections.abc import Sequence
from typing import Final, LiteralString

from basalt.postgres.advice.sql_check import RELATIONS, SqlCheck

# An index serves a foreign key when its first columns are the key's, in any order. One that leaves out rows without a
# value serves it too.
FOREIGN_KEYS: Final[LiteralString] = (
    RELATIONS
    + """
select r.nspname as schema, format('%%I.%%I', r.nspname, r.relname) as subject,
    format('refers to %%s by (%%s), and no index begins with it', k.confrelid::regclass, names.list) as what,
    format('create index on %%I.%%I (%%s);', r.nspname, r.relname, names.list) as remedy,
    case when r.reltuples >= 10000 then 'warning' else 'info' end as severity
from relations as r
join pg_catalog.pg_constraint as k on k.conrelid = r.oid and k.contype = 'f' and k.conparentid = 0
cross join lateral (
    select string_agg(quote_ident(a.attname), ', ' order by part.place) as list
    from unnest(k.conkey) with ordinality as part (number, place)
    join pg_catalog.pg_attribute as a on a.attrelid = r.oid and a.attnum = part.number) as names
where not exists (
    select from pg_catalog.pg_index as i
    where i.indrelid = r.oid and i.indisvalid and i.indnkeyatts >= cardinality(k.conkey)
        and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) = format('(%%s IS NOT NULL)', names.list))
        and (i.indkey::smallint[])[0:cardinality(k.conkey) - 1] @> k.conkey)
order by 2, 3
"""
)

# A constraint's index stays, and one that is part of a partitioned table's or tells Realtime its rows apart; else the
# oldest that is whole.
DUPLICATES: Final[LiteralString] = (
    RELATIONS
    + """,
indexes as (
    select r.nspname, r.relname, i.indexrelid, x.relname as index_name, i.indisvalid,
        row(i.indrelid, i.indkey, i.indnkeyatts, i.indclass, i.indcollation, i.indoption, x.relam, i.indisunique,
            i.indnullsnotdistinct, pg_get_expr(i.indexprs, i.indrelid), pg_get_expr(i.indpred, i.indrelid))::text
            as definition,
        x.relispartition or i.indisreplident
            or exists (select from pg_catalog.pg_constraint as k where k.conindid = i.indexrelid) as is_needed
    from relations as r
    join pg_catalog.pg_index as i on i.indrelid = r.oid
    join pg_catalog.pg_class as x on x.oid = i.indexrelid
),
ranked as (
    select *, first_value(index_name) over same as kept, row_number() over same as place
    from indexes
    window same as (partition by definition order by is_needed desc, indisvalid desc, indexrelid)
)
select nspname as schema, format('%%I.%%I', nspname, index_name) as subject,
    format('is the same index of %%I.%%I as %%I', nspname, relname, kept) as what,
    format('drop index %%I.%%I;', nspname, index_name) as remedy
from ranked
where place > 1 and not is_needed
order by 2
"""
)

# `reindex … concurrently` that was broken off leaves its copy behind.
INVALID: Final[LiteralString] = (
    RELATIONS
    + """
select r.nspname as schema, format('%%I.%%I', r.nspname, x.relname) as subject,
    format('on %%I.%%I is invalid: making it was broken off', r.nspname, r.relname) as what,
    format(case when x.relname ~ '_cc(new|old)[0-9]*$' then 'drop index %%I.%%I;'
        else 'reindex index concurrently %%I.%%I;' end, r.nspname, x.relname) as remedy
from relations as r
join pg_catalog.pg_index as i on i.indrelid = r.oid and not i.indisvalid and r.relkind <> 'p'
join pg_catalog.pg_class as x on x.oid = i.indexrelid
where not exists (select from pg_catalog.pg_stat_progress_create_index as going where going.index_relid = i.indexrelid)
order by 2
"""
)

# Without a key PostgreSQL refuses updates and deletes of a table whose changes are published. Columns that are unique
# and never null become the key; else the table gets one of its own, under a name that is free. That of a partitioned
# table has to include what it is partitioned by, which a person chooses.
WITHOUT_KEY: Final[LiteralString] = (
    RELATIONS
    + """,
published as materialized (
    select distinct t.schemaname, t.tablename
    from pg_catalog.pg_publication_tables as t
    join pg_catalog.pg_publication as p on p.pubname = t.pubname and (p.pubupdate or p.pubdelete)
),
without as (
    select r.*, format('%%I.%%I', r.nspname, r.relname) as name, r.relreplident in ('d', 'n') and exists (
        select from published as p where p.schemaname = r.nspname and p.tablename = r.relname) as fails
    from relations as r
    where r.relkind in ('r', 'p') and not r.relispartition
        and not exists (select from pg_catalog.pg_index as i where i.indrelid = r.oid and i.indisprimary)
)
select w.nspname as schema, w.name as subject,
    case when w.fails then 'has no primary key, and its changes are published: updates and deletes fail'
        else 'has no primary key' end as what,
    case when known.key is not null then format('alter table %%s add primary key (%%s);', w.name, known.key)
        when w.relkind = 'r' and free.name is not null
            then format('alter table %%s add column %%I bigint generated always as identity primary key;',
            w.name, free.name) end
        || case when w.relreplident = 'n' then format(' alter table %%s replica identity default;', w.name) else '' end
        as remedy,
    case when w.fails then 'error' else 'info' end as severity
from without as w
left join lateral (
    select string_agg(quote_ident(a.attname), ', ' order by part.place) as key
    from pg_catalog.pg_index as i
    cross join unnest((i.indkey::smallint[])[0:i.indnkeyatts - 1]) with ordinality as part (number, place)
    left join pg_catalog.pg_attribute as a on a.attrelid = w.oid and a.attnum = part.number
    where i.indrelid = w.oid and i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null
    group by i.indexrelid
    having bool_and(coalesce(a.attnotnull, false))
    order by i.indexrelid limit 1) as known on true
left join lateral (
    select name from unnest(array['id', 'row_id', 'key_id']) with ordinality as names (name, place)
    where not exists (select from pg_catalog.pg_attribute as a
        where a.attrelid = w.oid and a.attname = name and not a.attisdropped)
    order by place limit 1) as free on true
order by 2
"""
)

INDEX_CHECKS: Final[Sequence[SqlCheck]] = (
    SqlCheck(
        name="unindexed_foreign_keys",
        group="indexes",
        severity="warning",
        title="Foreign keys without an index",
        why="Deleting a row of the table referred to reads the whole referring table, and so do joins along it.",
        statement=FOREIGN_KEYS,
    ),
    SqlCheck(
        name="duplicate_index",
        group="indexes",
        severity="warning",
        title="Indexes that are there twice",
        why="Every write keeps both up to date, and no query is faster for it.",
        statement=DUPLICATES,
    ),
    SqlCheck(
        name="invalid_index",
        group="indexes",
        severity="error",
        title="Indexes that PostgreSQL does not use because they are incomplete",
        why="It costs writes and serves no query; a unique one does not keep values apart.",
        statement=INVALID,
    ),
    SqlCheck(
        name="no_primary_key",
        group="indexes",
        severity="info",
        title="Tables without a primary key",
        why="REST cannot merge duplicates, Realtime cannot tell rows apart, replication refuses updates.",
        statement=WITHOUT_KEY,
    ),
)
