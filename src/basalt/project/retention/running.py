"""A run of a policy: batches, each a transaction of its own, until no row is due or the time is up."""

from collections.abc import Callable
from typing import Any, Final

import psycopg
from psycopg import sql

from basalt.config import RetentionSettings, Settings
from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess
from basalt.project.retention.statements import build_batch, count_due

BEGIN_RUN: Final = "insert into basalt.retention_runs (policy) values (%s) returning id"
NOTE_BATCH: Final = """
update basalt.retention_runs set row_count = row_count + %s, batch_count = batch_count + 1 where id = %s
"""
END_RUN: Final = "update basalt.retention_runs set finished_at = clock_timestamp(), error = %s where id = %s"
FORGET_RUNS: Final = "delete from basalt.retention_runs where started_at < now() - interval '90 days'"

# Rows of Storage go with their bytes, by the trigger that notes them; the API's own guard is not for this.
PREPARE: Final = (
    "set local lock_timeout = '10s'",
    "set local statement_timeout = '60s'",
    "select set_config('storage.allow_delete_query', 'true', true)",
)


def run_policy(settings: Settings, access: DatabaseAccess, name: str, *, is_dry: bool = False) -> int:
    """Now, to the end; the number of rows. Raises BasaltError."""
    policy = find_policy(settings, name)
    with connect(access) as connection:
        if is_dry:
            return count_due(connection, name, policy)
        count, _ = perform(connection, name, policy)
        return count


def find_policy(settings: Settings, name: str) -> RetentionSettings:
    """Raises BasaltError."""
    policy = settings.basalt.retention.get(name)
    if policy is None:
        known = ", ".join(sorted(settings.basalt.retention)) or "none"
        raise BasaltError(
            "retention_policy_unknown",
            404,
            f"There is no retention policy {name}.",
            hint=f"There are: {known}",
        )
    return policy


def connect(access: DatabaseAccess) -> psycopg.Connection[Any]:
    """As `postgres`: a policy reaches what the project's own migrations reach. What has no time zone is UTC, whatever
    the server's is."""
    connection = psycopg.connect(
        access.conninfo("postgres"), autocommit=True, application_name="basalt/retention"
    )
    connection.execute("set timezone = 'UTC'")
    return connection


def perform(
    connection: psycopg.Connection[Any],
    name: str,
    policy: RetentionSettings,
    *,
    may_go_on: Callable[[], bool] = lambda: True,
) -> tuple[int, bool]:
    """How many rows, and whether it came to the end; `may_go_on` is asked before each batch. What goes wrong is written
    down and raised."""
    row = connection.execute(BEGIN_RUN, [name]).fetchone()
    assert row is not None
    run_id: int = row[0]
    total, is_done = 0, False
    try:
        batch = build_batch(connection, name, policy)
        while not is_done and may_go_on():
            count = _perform_batch(connection, batch, run_id)
            total += count
            is_done = count == 0
    except (BasaltError, psycopg.Error) as error:
        reason = str(error).strip().splitlines()[0]
        if not connection.broken:
            connection.execute(END_RUN, [reason, run_id])
        if isinstance(error, psycopg.OperationalError) and connection.broken:
            raise
        raise BasaltError("retention_failed", 500, f"Retention policy {name} failed: {reason}") from error
    connection.execute(END_RUN, [None, run_id])
    connection.execute(FORGET_RUNS)
    return total, is_done


def _perform_batch(connection: psycopg.Connection[Any], batch: sql.Composed, run_id: int) -> int:
    with connection.transaction():
        for statement in PREPARE:
            connection.execute(statement)
        row = connection.execute(batch).fetchone()
        assert row is not None
        connection.execute(NOTE_BATCH, [row[0], run_id])
        return int(row[0])
