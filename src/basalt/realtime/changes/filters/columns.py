"""What the catalog says about the columns of a table that filters compare with."""

from collections.abc import Mapping
from dataclasses import dataclass

from basalt.postgres import LanePool, Query, Result
from basalt.realtime.changes.filters.comparable import Comparable, find_comparable


@dataclass(frozen=True, slots=True)
class FilterColumn:
    """`type_name` is for people. The rest goes into SQL, with its schema and quoted: `cast` the type, `base_cast` a
    domain's base type, `schema` that of the base type, `collation` where it is not the base type's own. `has_like`,
    `has_match`: the type is text or has `~~`, `~` of its own. The last five speak of the base type."""

    name: str
    type_name: str
    schema: str
    cast: str
    base_cast: str
    collation: str | None
    is_boolean: bool
    is_composite: bool
    has_like: bool
    has_match: bool
    comparable: Comparable | None


LOAD_FILTER_COLUMNS = """
with recursive bases as (
    select attnum, atttypid as type
    from pg_catalog.pg_attribute
    where attrelid = $1::oid and attnum > 0 and not attisdropped
    union all
    select bases.attnum, domain.typbasetype
    from bases join pg_catalog.pg_type as domain on domain.oid = bases.type
    where domain.typtype = 'd'
)
select
    a.attname,
    pg_catalog.format_type(a.atttypid, null),
    pg_catalog.quote_ident(base_schema.nspname),
    pg_catalog.quote_ident(type_schema.nspname) || '.' || pg_catalog.quote_ident(type.typname),
    pg_catalog.quote_ident(base_schema.nspname) || '.' || pg_catalog.quote_ident(base.typname),
    case when a.attcollation <> base.typcollation
        then pg_catalog.quote_ident(collation_schema.nspname) || '.' || pg_catalog.quote_ident(c.collname) end,
    base.oid = 'boolean'::regtype,
    base.typtype = 'c',
    base.typcategory = 'S' or exists (
        select from pg_catalog.pg_operator as o where o.oprname = '~~' and o.oprleft = base.oid),
    base.typcategory = 'S' or exists (
        select from pg_catalog.pg_operator as o
        where o.oprname = '~' and o.oprleft = base.oid and o.oprright = base.oid and o.oprresult = 'boolean'::regtype),
    base.oid,
    base.typtype = 'e',
    coalesce(c.collisdeterministic, false),
    pg_catalog.getdatabaseencoding() = 'UTF8' and coalesce(
        case c.collprovider
            when 'b' then true
            when 'c' then c.collcollate in ('C', 'POSIX', 'C.UTF-8', 'C.utf8')
            when 'd' then db.datlocprovider = 'b'
                or db.datlocprovider = 'c' and db.datcollate in ('C', 'POSIX', 'C.UTF-8', 'C.utf8')
        end, false)
from pg_catalog.pg_attribute as a
join bases on bases.attnum = a.attnum
join pg_catalog.pg_type as type on type.oid = a.atttypid
join pg_catalog.pg_namespace as type_schema on type_schema.oid = type.typnamespace
join pg_catalog.pg_type as base on base.oid = bases.type and base.typtype <> 'd'
join pg_catalog.pg_namespace as base_schema on base_schema.oid = base.typnamespace
join pg_catalog.pg_database as db on db.datname = pg_catalog.current_database()
left join pg_catalog.pg_collation as c on c.oid = a.attcollation
left join pg_catalog.pg_namespace as collation_schema on collation_schema.oid = c.collnamespace
where a.attrelid = $1::oid and not a.attisdropped
"""


async def load_filter_columns(lanes: LanePool, table_oid: int) -> Mapping[str, FilterColumn]:
    """All columns of the table by name; they hold until it is altered."""
    (result,) = await lanes.execute([Query(LOAD_FILTER_COLUMNS, (b"%d" % table_oid,))], read_only=True)
    columns = (_read_column(row) for row in _texts(result))
    return {column.name: column for column in columns}


def _texts(result: Result) -> list[list[str]]:
    return [["" if cell is None else cell.decode() for cell in row] for row in result.rows]


def _read_column(row: list[str]) -> FilterColumn:
    name, type_name, schema, cast, base_cast, collation, *facts, oid, enum, deterministic, byte_order = row
    is_boolean, is_composite, has_like, has_match = (fact == "t" for fact in facts)
    comparable = find_comparable(
        int(oid),
        is_enum=enum == "t",
        is_deterministic=deterministic == "t",
        is_byte_order=byte_order == "t",
    )
    return FilterColumn(
        name,
        type_name,
        schema,
        cast,
        base_cast,
        collation or None,
        is_boolean,
        is_composite,
        has_like,
        has_match,
        comparable,
    )
