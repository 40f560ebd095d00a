"""Tables that a project had before a module that has them too.

Each `create table` of the module is held against the table that is there: columns that it lacks are added, with what
the module says of them; one of another type, or one that the module knows nothing of and that must be given, is a
conflict, named before anything is changed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pglast
import psycopg
from pglast import ast
from pglast.enums import ConstrType
from pglast.stream import RawStream

from basalt.postgres.module_error import ModuleError

KIND_OF_RELATION = "select c.relkind::text from pg_catalog.pg_class as c where c.oid = to_regclass(%s)"
KINDS = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "S": "a sequence",
    "i": "an index",
}
LOAD_COLUMNS = """
select a.attname, pg_catalog.format_type(a.atttypid, null), a.attnotnull,
    a.atthasdef or a.attidentity <> '' or a.attgenerated <> ''
from pg_catalog.pg_attribute as a
where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped
"""
LOAD_CONSTRAINTS = "select c.conname from pg_catalog.pg_constraint as c where c.conrelid = to_regclass(%s)"
NAME_TYPE = "select pg_catalog.format_type(%s::regtype::oid, null)"
NOTE_EARLIER = "insert into pg_temp.earlier_tables (name) values (%s) on conflict do nothing"

# Types that take each other's values.
ALIKE = (
    frozenset({"text", "character varying", "character", "citext", "extensions.citext", "public.citext"}),
    frozenset({"smallint", "integer", "bigint"}),
)


class EarlierColumn(NamedTuple):
    name: str
    type: str
    is_required: bool
    has_default: bool


def apply_beside_earlier_tables(connection: psycopg.Connection, text: str) -> None:
    """Run `text`, in which tables that are there already are brought to what it would create. Raises ModuleError and
    psycopg.Error."""
    for script in pglast.split(text):
        statement = pglast.parse_sql(script)[0].stmt
        if not isinstance(statement, ast.CreateStmt) or not _augment(connection, statement):
            connection.execute(script.encode())


def _augment(connection: psycopg.Connection, statement: ast.CreateStmt) -> bool:
    """False where there is no such table yet."""
    assert statement.relation is not None
    table = f"{statement.relation.schemaname}.{statement.relation.relname}"
    row = connection.execute(KIND_OF_RELATION, [table]).fetchone()
    if row is None:
        return False
    if row[0] not in ("r", "p"):
        raise ModuleError(f"{table} is {KINDS.get(row[0], 'no table')}", "Rename it, or drop it")
    connection.execute(NOTE_EARLIER, [table])
    earlier = {row[0]: EarlierColumn(*row) for row in connection.execute(LOAD_COLUMNS, [table]).fetchall()}
    parts = statement.tableElts or ()
    wanted = {part.colname: part for part in parts if isinstance(part, ast.ColumnDef)}
    for name, column in earlier.items():
        if name not in wanted and column.is_required and not column.has_default:
            raise ModuleError(
                f"{table}.{name} must be given, and the module knows nothing of it",
                f"Give it a default, or let it be null: alter table {table} alter column {name} drop not null",
            )
    for definition in wanted.values():
        _augment_column(connection, table, earlier, definition)
    known = {row[0] for row in connection.execute(LOAD_CONSTRAINTS, [table]).fetchall()}
    for part in parts:
        if (
            isinstance(part, ast.Constraint)
            and part.contype == ConstrType.CONSTR_CHECK
            and part.conname not in known
        ):
            # Rows from before may break it; new ones may not.
            _alter(connection, table, f"add {RawStream()(part)} not valid", part.conname or "")
    return True


def _augment_column(
    connection: psycopg.Connection, table: str, earlier: Mapping[str, EarlierColumn], definition: Any
) -> None:
    name = definition.colname
    found = earlier.get(name)
    if found is None:
        _alter(connection, table, f"add column {RawStream()(definition)}", name)
        return
    row = connection.execute(NAME_TYPE, [RawStream()(definition.typeName)]).fetchone()
    assert row is not None
    if not _is_alike(found.type, row[0]):
        raise ModuleError(
            f"{table}.{name} is of type {found.type}, and the module needs {row[0]}",
            f"Rename the column, or change it in a migration: alter table {table} alter column {name} type {row[0]}",
        )
    default = next(
        (one for one in definition.constraints or () if one.contype == ConstrType.CONSTR_DEFAULT), None
    )
    if default is not None and not found.has_default:
        _alter(connection, table, f"alter column {name} set default {RawStream()(default.raw_expr)}", name)


def _alter(connection: psycopg.Connection, table: str, action: str, part: str) -> None:
    """The pieces come from the module's own file."""
    try:
        connection.execute(f"alter table {table} {action}".encode())
    except psycopg.Error as exc:
        raise ModuleError(f"{table}.{part} cannot be added to the project's own table: {exc}") from exc


def _is_alike(one: str, other: str) -> bool:
    return one == other or any(one in kinds and other in kinds for kinds in ALIKE)
