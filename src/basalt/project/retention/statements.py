"""The statement of one batch, from a policy and what the catalogue says of its table.

Names come from the settings of whoever runs the project, are looked up and quoted; the condition in `unless` is
theirs, and runs with the rights of `postgres`.
"""

from typing import Any, Final

import psycopg
from psycopg import sql

from basalt.config import RetentionSettings
from basalt.errors import BasaltError

FIND_COLUMNS: Final = """
select a.attname::text, format_type(a.atttypid, null) from pg_attribute as a
where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' order by a.attnum
"""
AGE_TYPES: Final = ("timestamp with time zone", "timestamp without time zone", "date")


class PolicyError(BasaltError):
    def __init__(self, name: str, message: str) -> None:
        super().__init__("retention_policy_invalid", 400, f"basalt.retention.{name}: {message}")


def build_batch(connection: psycopg.Connection[Any], name: str, policy: RetentionSettings) -> sql.Composed:
    """Deletes, moves or marks up to `batch_size` due rows, passing over those that somebody has locked, and returns how
    many. Raises PolicyError for a policy that does not fit its table."""
    columns = check_policy(connection, name, policy)
    table = _identifier(policy.table)
    # A `ctid` is a row's place in one partition, and another row's in the next.
    batch = sql.SQL(
        "with due as materialized ("
        "select t.tableoid, t.ctid from {table} as t where {is_due} limit {size} for update skip locked), "
        "touched as ({change} where ctid = any (array(select ctid from due)) "
        "and (tableoid, ctid) in (select tableoid, ctid from due) returning {returned}){rest}"
    )
    change: sql.Composable = sql.SQL("delete from {}").format(table)
    returned: sql.Composable = sql.SQL("1")
    rest: sql.Composable = sql.SQL(" select count(*) from touched")
    match policy.action:
        case "delete":
            pass
        case "archive":
            returned = sql.SQL(", ").join(sql.Identifier(column) for column in columns)
            rest = sql.SQL(
                ", moved as (insert into {} ({}) overriding system value select {} from touched returning 1) "
                "select count(*) from moved"
            ).format(_identifier(policy.archive_table), returned, returned)
        case "set":
            change = sql.SQL("update {} set {} = {}").format(
                table, sql.Identifier(policy.set_column), _value(policy)
            )
    return batch.format(
        table=table,
        is_due=build_condition(policy),
        size=sql.Literal(policy.batch_size),
        change=change,
        returned=returned,
        rest=rest,
    )


def build_condition(policy: RetentionSettings) -> sql.Composable:
    """True for rows `t` that are due."""
    parts: list[sql.Composable] = [
        sql.SQL("t.{} < now() - make_interval(secs => {})").format(
            sql.Identifier(policy.column), sql.Literal(policy.older_than_s)
        )
    ]
    if policy.action == "set":
        column = sql.Identifier(policy.set_column)
        is_time = policy.set_value == "now"
        parts.append(
            sql.SQL("t.{} is null").format(column)
            if is_time
            else sql.SQL("t.{} is distinct from {}").format(column, _value(policy))
        )
    if policy.unless:
        parts.append(sql.SQL("({}) is not true").format(sql.SQL(policy.unless)))
    return sql.SQL(" and ").join(parts)


def count_due(connection: psycopg.Connection[Any], name: str, policy: RetentionSettings) -> int:
    """Raises PolicyError."""
    check_policy(connection, name, policy)
    query = sql.SQL("select count(*) from {} as t where {}").format(
        _identifier(policy.table), build_condition(policy)
    )
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def check_policy(connection: psycopg.Connection[Any], name: str, policy: RetentionSettings) -> list[str]:
    """The table's columns that a copy needs. Raises PolicyError."""
    columns = _find_columns(connection, policy.table)
    if not columns:
        raise PolicyError(name, f"there is no table {policy.table}")
    if columns.get(policy.column) not in AGE_TYPES:
        raise PolicyError(name, f"{policy.table} has no column {policy.column} that holds a time")
    if policy.action == "set" and policy.set_column not in columns:
        raise PolicyError(name, f"{policy.table} has no column {policy.set_column}")
    if policy.action == "archive":
        archive = _find_columns(connection, policy.archive_table)
        if missing := sorted(set(columns) - set(archive)):
            raise PolicyError(name, f"{policy.archive_table} lacks {', '.join(missing)} of {policy.table}")
    return list(columns)


def _find_columns(connection: psycopg.Connection[Any], table: str) -> dict[str, str]:
    return dict(connection.execute(FIND_COLUMNS, [_identifier(table).as_string(connection)]).fetchall())


def _identifier(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split(".", 1))


def _value(policy: RetentionSettings) -> sql.Composable:
    match policy.set_value:
        case "now":
            return sql.SQL("now()")
        case "null":
            return sql.SQL("null")
        case value:
            return sql.Literal(value)
