"""Unique and foreign keys of the schema cache, and functions that stand for a foreign key."""

from collections.abc import Sequence
from sys import intern
from typing import LiteralString

from basalt.postgres.schema_cache import Relationship
from basalt.postgres.schema_relationships import ForeignKey, KeyEnd
from basalt.postgres.schema_rows import Cursor, intern_name

# In every schema: views show tables of schemas that are not exposed. The order is for views that show the primary
# keys of several tables, whose columns PostgREST puts in the descending order of the tables' names.
UNIQUE_KEYS: LiteralString = """
select k.conrelid, k.contype = 'p', k.conkey
from pg_catalog.pg_constraint as k
join pg_catalog.pg_class as r on r.oid = k.conrelid
join pg_catalog.pg_namespace as n on n.oid = r.relnamespace
where k.contype in ('p', 'u') and n.nspname not in ('pg_catalog', 'information_schema')
order by n.nspname desc, r.relname desc
"""


def load_unique_keys(cursor: Cursor) -> tuple[set[tuple[int, frozenset[int]]], dict[int, tuple[int, ...]]]:
    """Relations with the numbers of columns that are unique in them; and the primary keys among those, in order."""
    unique: set[tuple[int, frozenset[int]]] = set()
    primary: dict[int, tuple[int, ...]] = {}
    for relation, is_primary, numbers in cursor.execute(UNIQUE_KEYS):
        unique.add((relation, frozenset(numbers)))
        if is_primary:
            primary[relation] = tuple(numbers)
    return unique, primary


# The keys that a partitioned table gives to its partitions, and those it makes towards the partitions of another
# table, have a parent and are left out.
FOREIGN_KEYS: LiteralString = """
select
    k.conname,
    k.conrelid,
    n.nspname,
    r.relname,
    k.conkey,
    array_agg(a.attname::text order by u.place),
    k.confrelid,
    fn.nspname,
    fr.relname,
    k.confkey,
    array_agg(fa.attname::text order by u.place)
from pg_catalog.pg_constraint as k
cross join lateral unnest(k.conkey, k.confkey) with ordinality as u(near, far, place)
join pg_catalog.pg_class as r on r.oid = k.conrelid
join pg_catalog.pg_namespace as n on n.oid = r.relnamespace
join pg_catalog.pg_class as fr on fr.oid = k.confrelid
join pg_catalog.pg_namespace as fn on fn.oid = fr.relnamespace
join pg_catalog.pg_attribute as a on a.attrelid = k.conrelid and a.attnum = u.near
join pg_catalog.pg_attribute as fa on fa.attrelid = k.confrelid and fa.attnum = u.far
where k.contype = 'f' and k.conparentid = 0
group by k.oid, k.conname, k.conrelid, n.nspname, r.relname, k.conkey,
    k.confrelid, fn.nspname, fr.relname, k.confkey
"""


def load_foreign_keys(cursor: Cursor, unique: set[tuple[int, frozenset[int]]]) -> list[ForeignKey]:
    return [
        ForeignKey(
            constraint=intern(constraint),
            near=_key_end(*near),
            far=_key_end(*far),
            is_unique=(near[0], frozenset(near[3])) in unique,
        )
        for constraint, *ends in cursor.execute(FOREIGN_KEYS)
        for near, far in [(ends[:5], ends[5:])]
    ]


def _key_end(oid: int, schema: str, name: str, numbers: Sequence[int], columns: Sequence[str]) -> KeyEnd:
    return KeyEnd(oid, intern_name(schema, name), tuple(map(intern, columns)), tuple(numbers))


# A function of one argument, from the rows of one relation to the rows of another. PostgREST looks for it in the schema
# that the request is about, which is the table's too: those for tables of other schemas are never found.
COMPUTED_RELATIONSHIPS: LiteralString = """
select n.nspname, p.proname, ar.relname, rn.nspname, rr.relname, not p.proretset or p.prorows = 1
from pg_catalog.pg_proc as p
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
join pg_catalog.pg_class as ar on ar.reltype = p.proargtypes[0] and ar.relnamespace = p.pronamespace
join pg_catalog.pg_class as rr on rr.reltype = p.prorettype
join pg_catalog.pg_namespace as rn on rn.oid = rr.relnamespace
where p.pronargs = 1
    and p.prokind = 'f'
    and n.nspname = any(%(schemas)s)
    and ar.relkind in ('r', 'v', 'm', 'f', 'p')
    and rr.relkind in ('r', 'v', 'm', 'f', 'p')
"""


def load_computed_relationships(cursor: Cursor, schemas: Sequence[str]) -> list[Relationship]:
    return [
        Relationship(
            table=intern_name(schema, table),
            foreign=intern_name(foreign_schema, foreign),
            cardinality="many-to-one" if is_to_one else "one-to-many",
            constraint=intern(name),
            routine=intern_name(schema, name),
            is_self=(schema, table) == (foreign_schema, foreign),
        )
        for schema, name, table, foreign_schema, foreign, is_to_one in cursor.execute(
            COMPUTED_RELATIONSHIPS, {"schemas": list(schemas)}
        )
    ]
