"""Indexes and keys that are missing, doubled or broken."""

from collections.abc import Sequence
from typing import Final, LiteralString

from basalt.postgres.advice.sql_check import RELATIONS, SqlCheck

# An index serves a foreign key when its first columns are the key's, in any order.
FOREIGN_KEYS: Final[LiteralString] = (
    RELATIONS
    + """
select format('%%I.%%I', r.nspname, r.relname) as subject,
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
    where i.indrelid = r.oid and i.indpred is null and i.indisvalid and i.indnkeyatts >= cardinality(k.conkey)
        and (i.indkey::smallint[])[0:cardinality(k.conkey) - 1] @> k.conkey)
order by 1, 2
"""
)

# The primary key's or a constraint's one stays, else the oldest.
DUPLICATES: Final[LiteralString] = (
    RELATIONS
    + """,
indexes as (
    select r.nspname, r.relname, i.indexrelid, x.relname as index_name,
        row(i.indrelid, i.indkey, i.indclass, i.indcollation, i.indoption, x.relam, i.indisunique,
            pg_get_expr(i.indexprs, i.indrelid), pg_get_expr(i.indpred, i.indrelid))::text as definition,
        exists (select from pg_catalog.pg_constraint as k where k.conindid = i.indexrelid) as is_needed
    from relations as r
    join pg_catalog.pg_index as i on i.indrelid = r.oid
    join pg_catalog.pg_class as x on x.oid = i.indexrelid
),
ranked as (
    select *, first_value(index_name) over same as kept, row_number() over same as place
    from indexes
    window same as (partition by definition order by is_needed desc, indexrelid)
)
select format('%%I.%%I', nspname, index_name) as subject,
    format('is the same index of %%I.%%I as %%I', nspname, relname, kept) as what,
    format('drop index %%I.%%I;', nspname, index_name) as remedy
from ranked
where place > 1 and not is_needed
order by 1
"""
)

INVALID: Final[LiteralString] = (
    RELATIONS
    + """
select format('%%I.%%I', r.nspname, x.relname) as subject,
    format('on %%I.%%I is invalid: making it was broken off', r.nspname, r.relname) as what,
    format('reindex index concurrently %%I.%%I;', r.nspname, x.relname) as remedy
from relations as r
join pg_catalog.pg_index as i on i.indrelid = r.oid and not i.indisvalid and r.relkind <> 'p'
join pg_catalog.pg_class as x on x.oid = i.indexrelid
where not exists (select from pg_catalog.pg_stat_progress_create_index as going where going.index_relid = i.indexrelid)
order by 1
"""
)

# Without a key PostgreSQL refuses updates and deletes of a table whose changes are published.
WITHOUT_KEY: Final[LiteralString] = (
    RELATIONS
    + """
select format('%%I.%%I', r.nspname, r.relname) as subject,
    case when published.is_so then 'has no primary key, and its changes are published: updates and deletes fail'
        else 'has no primary key' end as what,
    case when published.is_so then format('alter table %%I.%%I replica identity full;  -- or give it a primary key',
            r.nspname, r.relname)
        else format('alter table %%I.%%I add column id bigint generated always as identity primary key;', r.nspname,
            r.relname)
        end as remedy,
    case when published.is_so then 'error' else 'info' end as severity
from relations as r
cross join lateral (
    select r.relreplident in ('d', 'n') and exists (
        select from pg_catalog.pg_publication_tables as t join pg_catalog.pg_publication as p on p.pubname = t.pubname
        where t.schemaname = r.nspname and t.tablename = r.relname and (p.pubupdate or p.pubdelete)) as is_so)
            as published
where r.relkind in ('r', 'p') and not r.relispartition
    and not exists (select from pg_catalog.pg_index as i where i.indrelid = r.oid and i.indisprimary)
order by 1
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
