"""Tables and views of the schema cache, with their columns and what views show of tables."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from sys import intern
from typing import LiteralString

from basalt.postgres.schema_cache import Column, Name, Table
from basalt.postgres.schema_relationships import ShownTable, group_shown_tables
from basalt.postgres.schema_rows import DOMAINS, Cursor, intern_name
from basalt.postgres.view_keys import parse_column_origins, trace_view_columns

# A column without a default of its own has its domain's. An identity column has its sequence's next value unless the
# identity is `always`, which accepts no value; a generated column accepts none either.
COLUMNS: LiteralString = """,
enums as (
    select enumtypid as type, array_agg(enumlabel::text order by enumsortorder) as labels
    from pg_catalog.pg_enum
    group by enumtypid
),
sequences as (
    select refobjid as relation, refobjsubid as number, min(objid::regclass::text) as name
    from pg_catalog.pg_depend
    where classid = 'pg_catalog.pg_class'::regclass
        and refclassid = 'pg_catalog.pg_class'::regclass
        and deptype = 'i'
        and refobjsubid > 0
    group by refobjid, refobjsubid
)
select
    a.attrelid,
    a.attnum,
    a.attname,
    format_type(a.atttypid, a.atttypmod),
    case when coalesce(d.namespace, t.typnamespace) = 'pg_catalog'::regnamespace
        then format_type(coalesce(d.base, t.oid), null)
        else format_type(a.atttypid, a.atttypmod)
    end,
    not (a.attnotnull or t.typtype = 'd' and t.typnotnull),
    case
        when t.typtype = 'd' and f.adbin is null then pg_get_expr(t.typdefaultbin, 0)
        when a.attidentity = 'd' then format('nextval(%%L)', s.name)
        when a.attgenerated = '' then pg_get_expr(f.adbin, f.adrelid)
    end,
    case when t.typtype = 'd' then t.typbasetype else t.oid end::int8,
    case when t.typtype = 'd' then t.typtypmod else a.atttypmod end,
    c.description,
    e.labels
from pg_catalog.pg_class as r
join pg_catalog.pg_namespace as n on n.oid = r.relnamespace
join pg_catalog.pg_attribute as a on a.attrelid = r.oid
join pg_catalog.pg_type as t on t.oid = a.atttypid
left join domains as d on d.domain = t.oid
left join enums as e on e.type = coalesce(d.base, t.oid)
left join sequences as s on s.relation = a.attrelid and s.number = a.attnum
left join pg_catalog.pg_attrdef as f on f.adrelid = a.attrelid and f.adnum = a.attnum
left join pg_catalog.pg_description as c on c.objoid = a.attrelid and c.objsubid = a.attnum
    and c.classoid = 'pg_catalog.pg_class'::regclass
where r.relkind in ('r', 'v', 'm', 'f', 'p')
    and not r.relispartition
    and a.attnum > 0
    and not a.attisdropped
    and n.nspname = any(%(schemas)s)
order by a.attrelid, a.attnum
"""


def load_columns(cursor: Cursor, schemas: Sequence[str]) -> dict[int, dict[int, Column]]:
    """By the relation's oid and the column's number. Tables have many columns in common, and share them here: that
    spares the garbage collector, which stops the event loop too, most of what it would have to walk through."""
    read_column = cache(_read_column)
    found: defaultdict[int, dict[int, Column]] = defaultdict(dict)
    for relation, number, *facts, labels in cursor.execute(DOMAINS + COLUMNS, {"schemas": list(schemas)}):
        found[relation][number] = read_column(*facts, tuple(labels or ()))
    return found


def _read_column(
    name: str,
    type_name: str,
    base_type: str,
    nullable: bool,
    default: str | None,
    type_oid: int,
    modifier: int,
    description: str | None,
    labels: tuple[str, ...],
) -> Column:
    return Column(
        name=intern(name),
        type=intern(type_name),
        base_type=intern(base_type),
        nullable=nullable,
        default=default and intern(default),
        max_length=_max_length(type_oid, modifier),
        enum_values=tuple(map(intern, labels)),
        description=description,
    )


_CHARACTER_TYPES, _BIT_TYPES = frozenset({1042, 1043}), frozenset({1560, 1562})


def _max_length(type_oid: int, modifier: int) -> int | None:
    """In characters or bits. The modifier of the character types counts a header of four bytes that is long gone."""
    if modifier < 0:
        return None
    if type_oid in _CHARACTER_TYPES:
        return modifier - 4
    return modifier if type_oid in _BIT_TYPES else None


# Only the rule that makes the view; it may have others, for writing. Views whose text is long come one by one.
VIEW_RULES: LiteralString = """
select r.oid, n.nspname = any(%(schemas)s), n.nspname, r.relname, w.ev_action::text
from pg_catalog.pg_class as r
join pg_catalog.pg_namespace as n on n.oid = r.relnamespace
join pg_catalog.pg_rewrite as w on w.ev_class = r.oid and w.ev_type = '1'
where r.relkind in ('v', 'm') and (n.nspname = any(%(schemas)s) or n.nspname = any(%(extra)s))
"""


def load_shown_tables(
    cursor: Cursor,
    schemas: Sequence[str],
    extra_search_path: Sequence[str],
    columns: Mapping[int, Mapping[int, Column]],
) -> dict[int, list[ShownTable]]:
    """What the exposed views show of tables, by the tables' oids."""
    views: dict[int, tuple[Name, dict[int, str]]] = {}
    origins = {}
    parameters = {"schemas": list(schemas), "extra": list(extra_search_path)}
    for oid, is_exposed, schema, name, rule in cursor.stream(VIEW_RULES, parameters):
        origins[oid] = parse_column_origins(rule)
        if is_exposed:
            names = {number: column.name for number, column in columns.get(oid, {}).items()}
            views[oid] = (intern_name(schema, name), names)
    return group_shown_tables(views, trace_view_columns(origins))


# Tables take every write; whether a view or a foreign table takes one, the rewriter or the wrapper knows (bits of
# 1 << CmdType: 4 update, 8 insert, 16 delete), triggers included. Materialized views take none. PostgreSQL raises
# an error when it is asked about a foreign table whose wrapper has no handler.
TABLES: LiteralString = """
select
    r.oid,
    n.nspname,
    r.relname,
    r.relkind in ('v', 'm'),
    case
        when r.relkind in ('r', 'p') then 28
        when r.relkind = 'v' or w.fdwhandler <> 0 then pg_relation_is_updatable(r.oid, true)
        else 0
    end,
    c.description
from pg_catalog.pg_class as r
join pg_catalog.pg_namespace as n on n.oid = r.relnamespace
left join pg_catalog.pg_foreign_table as f on f.ftrelid = r.oid
left join pg_catalog.pg_foreign_server as s on s.oid = f.ftserver
left join pg_catalog.pg_foreign_data_wrapper as w on w.oid = s.srvfdw
left join pg_catalog.pg_description as c on c.objoid = r.oid and c.objsubid = 0
    and c.classoid = 'pg_catalog.pg_class'::regclass
where r.relkind in ('r', 'v', 'm', 'f', 'p')
    and not r.relispartition
    and n.nspname = any(%(schemas)s)
    and n.nspname not in ('pg_catalog', 'information_schema')
order by n.nspname, r.relname
"""


def load_tables(
    cursor: Cursor,
    schemas: Sequence[str],
    columns: Mapping[int, Mapping[int, Column]],
    primary_keys: Mapping[int, Sequence[int]],
    view_keys: Mapping[Name, tuple[str, ...]],
) -> dict[Name, Table]:
    """A table's primary key is in the order of its columns' names, as PostgREST has it."""
    tables: dict[Name, Table] = {}
    for oid, schema, name, is_view, writes, description in cursor.execute(TABLES, {"schemas": list(schemas)}):
        full_name = intern_name(schema, name)
        own = columns.get(oid, {})
        key = tuple(sorted(own[number].name for number in primary_keys.get(oid, ())))
        tables[full_name] = Table(
            oid=oid,
            name=full_name,
            columns={column.name: column for column in own.values()},
            primary_key=view_keys.get(full_name, ()) if is_view else key,
            is_view=is_view,
            insertable=bool(writes & 8),
            updatable=bool(writes & 4),
            deletable=bool(writes & 16),
            description=description,
        )
    return tables
