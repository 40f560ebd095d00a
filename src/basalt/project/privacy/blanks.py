"""What stands in a column after it was emptied."""

from collections.abc import Mapping
from typing import Any, Final

import psycopg
from psycopg import sql

from basalt.errors import BasaltError
from basalt.project.privacy.planning import Step
from basalt.project.privacy.references import load_columns, quote

# What stands in a column that must hold something, by the names of `pg_type`; arrays are empty.
BLANKS: Final[Mapping[str, str]] = {
    "text": "''", "varchar": "''", "bpchar": "''", "citext": "''", "jsonb": "'{}'", "json": "'{}'", "bool": "false",
    "int4": "0", "int8": "0", "int2": "0", "numeric": "0", "float8": "0", "float4": "0", "bytea": "''",
}  # fmt: skip
TEXTS: Final = ("text", "varchar", "citext")


def build_blanks(connection: psycopg.Connection[Any], step: Step) -> sql.Composable:
    """`column = nothing` for each column of the step, whatever nothing is there."""
    columns = load_columns(connection, step.reached.table)
    parts: list[sql.Composable] = []
    by_default = {
        column
        for link in step.links
        if link.key is not None and link.key.on_delete == "set default"
        for column in link.loose_columns
    }
    for name in step.columns:
        if name not in columns:
            raise BasaltError("privacy_rule_invalid", 400, f"{step.reached.table} has no column {name}.")
        blank = "default" if name in by_default and step.action == "unlink" else _choose_blank(columns[name])
        if blank is None:
            raise BasaltError(
                "privacy_rule_invalid",
                400,
                f"{step.reached.table}.{name} cannot be emptied: it must hold a {columns[name]['full_type']}.",
                hint="Let the column be null, or give it a default.",
            )
        parts.append(sql.SQL("{} = {}").format(quote(name), sql.SQL(blank)))
    return sql.SQL(", ").join(parts)


def _choose_blank(column: Mapping[str, Any]) -> str | None:
    """
    >>> column = {"is_required": True, "is_generated": False, "is_unique": False, "has_default": False, "category": "S"}
    >>> _choose_blank(column | {"type": "text"}), _choose_blank(column | {"type": "uuid"})
    ("''", None)
    >>> _choose_blank(column | {"type": "uuid", "is_required": False})
    'null'
    >>> _choose_blank(column | {"type": "varchar", "full_type": "character varying(20)", "is_unique": True})
    "('erased-' || replace(gen_random_uuid()::text, '-', ''))::character varying(20)"
    """
    if column["is_generated"]:
        return None
    if not column["is_required"]:
        return "null"
    if column["is_unique"] and column["type"] in TEXTS:
        return f"('erased-' || replace(gen_random_uuid()::text, '-', ''))::{column['full_type']}"
    if column["has_default"]:
        return "default"
    return "'{}'" if column["category"] == "A" else BLANKS.get(column["type"])
