"""What the log does not tell about tables: primary keys, row-level security, and how values of their types become JSON.

Looked up as it is now, which may be later than the change it is wanted for; the log says when it has to be forgotten
(`Transaction.altered`, and another `Relation` object)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from basalt.postgres import LanePool, Query
from basalt.realtime.changes.log.change import Relation
from basalt.realtime.changes.tables.table import Column, Kind, Table, ValueType

# Types known to `to_jsonb` by their number (PostgreSQL, jsonb.c); every other one is an array, a row, or text.
KINDS: Final[Mapping[int, Kind]] = {
    16: "boolean",
    20: "number",
    21: "number",
    23: "number",
    700: "number",
    701: "number",
    1700: "number",
    114: "json",
    3802: "json",
    1082: "date",
    1114: "timestamp",
    1184: "timestamp",
    17: "bytes",
}


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """A table that can be subscribed to: listed by the publication, or a partitioned table above one that is."""

    oid: int
    schema: str
    name: str
    columns: Mapping[str, ValueType]


class TableCatalog:
    """What was looked up, until `forget`."""

    def __init__(self, lanes: LanePool) -> None:
        self._lanes = lanes
        self._tables: dict[int, tuple[Relation, Table]] = {}
        self._published: list[Sequence[PublishedTable]] = []

    async def describe(self, relation: Relation) -> Table:
        """The same object for the same relation. Raises PostgresError, LanesUnavailable."""
        tables = self._tables  # another one after `forget`, which may come while this waits
        known = tables.get(relation.oid)
        if known is None or known[0] is not relation:
            known = tables[relation.oid] = relation, await load_table(self._lanes, relation)
        return known[1]

    async def published(self) -> Sequence[PublishedTable]:
        """Raises PostgresError, LanesUnavailable."""
        published = self._published
        if not published:
            published.append(await load_published(self._lanes))
        return published[0]

    def forget(self) -> None:
        self._tables = {}
        self._published = []


# A table that is gone has row-level security: nobody sees what cannot be checked any more.
DESCRIBE_TABLE = """
with recursive ancestors as (
    select i.inhparent as oid, 1 as distance
    from pg_catalog.pg_inherits as i
    join pg_catalog.pg_class as c on c.oid = i.inhrelid
    where i.inhrelid = $1::oid and c.relispartition
    union all
    select i.inhparent, a.distance + 1
    from ancestors as a
    join pg_catalog.pg_inherits as i on i.inhrelid = a.oid
    join pg_catalog.pg_class as c on c.oid = a.oid
    where c.relispartition
)
select jsonb_build_object(
    'has_row_security', coalesce((select relrowsecurity from pg_catalog.pg_class where oid = $1::oid), true),
    'primary_key', coalesce((
        select jsonb_agg(key.number)
        from pg_catalog.pg_index as i, unnest(i.indkey::int2[]) as key (number)
        where i.indrelid = $1::oid and i.indisprimary), '[]'),
    'columns', coalesce((
        select jsonb_object_agg(attname, attnum order by attnum)
        from pg_catalog.pg_attribute
        where attrelid = $1::oid and attnum > 0 and not attisdropped), '{}'),
    'ancestors', coalesce((
        select jsonb_agg(jsonb_build_array(a.oid::int8, n.nspname, c.relname) order by a.distance)
        from ancestors as a
        join pg_catalog.pg_class as c using (oid)
        join pg_catalog.pg_namespace as n on n.oid = c.relnamespace), '[]'))
"""

# A type with all that it is made of: what a domain is based on, what an array holds. `casts`: jsonb.c looks for a
# function that casts to json, for types that are not built in.
DESCRIBE_TYPES = """
with recursive needed as (
    select unnest($1::oid[]) as oid
    union
    select case when t.typtype = 'd' then t.typbasetype else t.typelem end
    from needed
    join pg_catalog.pg_type as t using (oid)
    where t.typtype = 'd' or t.typsubscript = 'pg_catalog.array_subscript_handler'::regproc and t.typelem <> 0
)
select jsonb_agg(jsonb_build_object(
    'oid', t.oid::int8,
    'name', t.typname,
    'base', case when t.typtype = 'd' then t.typbasetype::int8 end,
    'element', case when t.typsubscript = 'pg_catalog.array_subscript_handler'::regproc then t.typelem::int8 end,
    'delimiter', e.typdelim,
    'is_plain', t.typtype <> 'c' and t.oid <> 'record'::regtype and not exists (
        select
        from pg_catalog.pg_cast as c
        where t.oid >= 16384 and c.castsource = t.oid and c.casttarget = 'json'::regtype and c.castmethod = 'f'),
    'prints_braces', t.typoutput = 'pg_catalog.array_out'::regproc))
from needed
join pg_catalog.pg_type as t using (oid)
left join pg_catalog.pg_type as e on e.oid = t.typelem
"""


class _TableFacts(msgspec.Struct):
    has_row_security: bool
    primary_key: list[int]
    columns: dict[str, int]
    ancestors: list[tuple[int, str, str]]


class _TypeFacts(msgspec.Struct):
    oid: int
    name: str
    base: int | None
    element: int | None
    delimiter: str | None
    is_plain: bool
    prints_braces: bool


async def load_table(lanes: LanePool, relation: Relation) -> Table:
    """Columns are found by their names. One that was dropped or renamed since has the number 0."""
    described, described_types = await lanes.execute(
        [
            Query(DESCRIBE_TABLE, (b"%d" % relation.oid,)),
            Query(DESCRIBE_TYPES, (_oids(column.type_oid for column in relation.columns),)),
        ],
        read_only=True,
    )
    facts = msgspec.json.decode(described.rows[0][0] or b"", type=_TableFacts)
    types = _build_types(described_types.rows[0][0])
    numbers = facts.columns
    told = {column.name for column in relation.columns}
    columns = tuple(
        Column(
            name=column.name,
            number=numbers.get(column.name, 0),
            type=types.get(column.type_oid) or ValueType(column.type_oid, "unknown", "text"),
            is_primary_key=numbers.get(column.name) in facts.primary_key,
            is_identity=column.is_identity,
        )
        for column in relation.columns
    )
    return Table(
        oid=relation.oid,
        schema=relation.schema,
        name=relation.name,
        columns=columns,
        missing=tuple(name for name in sorted(numbers, key=numbers.__getitem__) if name not in told),
        has_row_security=facts.has_row_security,
        ancestors=tuple(facts.ancestors),
    )


LIST_PUBLISHED = """
with recursive reachable as (
    select c.oid
    from pg_catalog.pg_publication_tables as p
    join pg_catalog.pg_namespace as n on n.nspname = p.schemaname
    join pg_catalog.pg_class as c on c.relnamespace = n.oid and c.relname = p.tablename
    where p.pubname = 'supabase_realtime'
    union
    select i.inhparent
    from reachable as r
    join pg_catalog.pg_class as c using (oid)
    join pg_catalog.pg_inherits as i on i.inhrelid = r.oid
    where c.relispartition
)
select c.oid, n.nspname, c.relname, (
    select coalesce(jsonb_agg(jsonb_build_array(attname, atttypid::int8) order by attnum), '[]')
    from pg_catalog.pg_attribute
    where attrelid = c.oid and attnum > 0 and not attisdropped)
from reachable as r
join pg_catalog.pg_class as c using (oid)
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
order by 2, 3
"""


async def load_published(lanes: LanePool) -> Sequence[PublishedTable]:
    """With all columns, those too that the publication leaves out."""
    (listed,) = await lanes.execute([Query(LIST_PUBLISHED)], read_only=True)
    decode = msgspec.json.Decoder(list[tuple[str, int]]).decode
    columns = [decode(row[3] or b"") for row in listed.rows]
    wanted = {type_oid for each in columns for _, type_oid in each}
    (described,) = await lanes.execute([Query(DESCRIBE_TYPES, (_oids(wanted),))], read_only=True)
    types = _build_types(described.rows[0][0])
    return [
        PublishedTable(
            oid=int(oid or 0),
            schema=(schema or b"").decode(),
            name=(name or b"").decode(),
            columns={column: types[type_oid] for column, type_oid in each if type_oid in types},
        )
        for (oid, schema, name, _), each in zip(listed.rows, columns, strict=True)
    ]


def _oids(oids: Iterable[int]) -> bytes:
    return ("{" + ",".join(str(oid) for oid in sorted(set(oids))) + "}").encode()


def _build_types(described: bytes | None) -> dict[int, ValueType]:
    facts = msgspec.json.decode(described or b"[]", type=list[_TypeFacts])
    by_oid = {each.oid: each for each in facts}
    return {each.oid: _build_type(each, by_oid) for each in facts}


def _build_type(facts: _TypeFacts, by_oid: Mapping[int, _TypeFacts]) -> ValueType:
    base = facts
    while base.base is not None:
        base = by_oid[base.base]
    if base.oid in KINDS:
        return ValueType(facts.oid, facts.name, KINDS[base.oid])
    if base.element is None:
        return ValueType(facts.oid, facts.name, "text" if base.is_plain else "database")
    element = _build_type(by_oid[base.element], by_oid)
    if element.kind == "database" or not base.prints_braces:  # int2vector: an array that prints `1 2`
        return ValueType(facts.oid, facts.name, "database")
    return ValueType(facts.oid, facts.name, "array", element, base.delimiter or ",")
