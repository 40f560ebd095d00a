"""What a role may read of a table at all: column privileges, and whether row-level security filters it."""

from dataclasses import dataclass
from typing import Final

import msgspec

from basalt.postgres import LanePool, Query
from basalt.realtime.changes.tables.table import Table

LOAD_ACCESS: Final = """
select
    class.relrowsecurity and not role.rolsuper and not role.rolbypassrls
        and (class.relforcerowsecurity or not pg_catalog.pg_has_role(role.oid, class.relowner, 'usage')),
    pg_catalog.json_agg(attribute.attname order by attribute.attnum),
    coalesce(
        pg_catalog.json_agg(attribute.attname) filter (
            where pg_catalog.has_schema_privilege(role.oid, class.relnamespace, 'usage')
            and pg_catalog.has_column_privilege(role.oid, class.oid, attribute.attnum, 'select')
        ),
        '[]'
    )
from pg_catalog.pg_class as class
cross join pg_catalog.pg_roles as role
join pg_catalog.pg_attribute as attribute
    on attribute.attrelid = class.oid and attribute.attnum > 0 and not attribute.attisdropped
where class.oid = $1::oid and role.rolname = $2
group by class.oid, class.relrowsecurity, class.relforcerowsecurity, class.relowner, class.relnamespace,
    role.oid, role.rolsuper, role.rolbypassrls
"""


@dataclass(frozen=True, slots=True)
class RoleAccess:
    """`selectable`: the columns that the role may SELECT, by a privilege on the table or on the column; none without
    USAGE on the schema. `may_select_key`: all columns of the primary key are among them. `sees_all`: no row-level
    security, or none for this role (BYPASSRLS, superuser, the owner unless it is forced). `reads_missing`: its policies
    read columns of `table.missing`, so that images must carry those too; `reads`: all columns that they read.
    `layout`: every column of the row type, in its order."""

    selectable: frozenset[str] = frozenset()
    may_select_key: bool = False
    sees_all: bool = False
    reads_missing: bool = False
    reads: frozenset[str] = frozenset()
    layout: tuple[str, ...] = ()


NO_ACCESS: Final = RoleAccess()


async def load_selectable(lanes: LanePool, table_oid: int, role: str) -> frozenset[str]:
    """The columns of any table that the role may SELECT. Raises PostgresError, LanesUnavailable."""
    (result,) = await lanes.execute([Query(LOAD_ACCESS, (b"%d" % table_oid, role.encode()))], read_only=True)
    return (
        frozenset(msgspec.json.decode(result.rows[0][2] or b"[]", type=list[str]))
        if result.rows
        else frozenset()
    )


def build_access_query(table: Table, role: str) -> Query:
    return Query(LOAD_ACCESS, (str(table.oid).encode(), role.encode()))


def read_access(
    table: Table, rows: list[tuple[bytes | None, ...]], columns_read: frozenset[str]
) -> RoleAccess:
    """From the answer to `build_access_query`; no access where table or role are gone."""
    if not rows:
        return NO_ACCESS
    is_filtered, layout, selectable = (value or b"" for value in rows[0])
    granted = frozenset(msgspec.json.decode(selectable, type=list[str]))
    return RoleAccess(
        selectable=granted,
        may_select_key=all(table.columns[position].name in granted for position in table.primary_key),
        sees_all=is_filtered == b"f",
        reads_missing=is_filtered == b"t" and not columns_read.isdisjoint(table.missing),
        reads=columns_read,
        layout=tuple(msgspec.json.decode(layout, type=list[str])),
    )
