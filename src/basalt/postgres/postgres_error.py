"""The two ways in which a statement on a lane can fail: PostgreSQL refused it, or PostgreSQL was not there.

`PostgresError` carries PostgreSQL's own diagnostic fields, so that a service can pass them on by SQLSTATE;
`LanesUnavailable` is a finished 503 with `Retry-After`.
"""

import math
from typing import Literal

from psycopg.pq import DiagnosticField
from psycopg.pq.abc import PGresult

from basalt.errors import BasaltError


class PostgresError(Exception):
    """An error response of PostgreSQL (documentation: "Error and Notice Message Fields"). `position` counts
    characters of the statement from 1. Everything that the request's transaction did has been undone."""

    def __init__(
        self,
        sqlstate: str,
        message: str,
        *,
        detail: str | None = None,
        hint: str | None = None,
        severity: str = "ERROR",
        position: int | None = None,
        schema: str | None = None,
        table: str | None = None,
        column: str | None = None,
        constraint: str | None = None,
        routine: str | None = None,
    ) -> None:
        super().__init__(f"{severity} {sqlstate}: {message}")
        self.sqlstate = sqlstate
        self.message = message
        self.detail = detail
        self.hint = hint
        self.severity = severity
        self.position = position
        self.schema = schema
        self.table = table
        self.column = column
        self.constraint = constraint
        self.routine = routine
        """The C function that raised it: the only sign that no translation changes."""

    @property
    def is_fatal(self) -> bool:
        """The connection ended with it: a shutdown, a crash, `pg_terminate_backend`."""
        return self.severity in ("FATAL", "PANIC")

    @property
    def is_stale_statement(self) -> bool:
        """The prepared statement was to blame and not what it says: its result type changed with a table, or
        somebody ran `deallocate` or `discard`. The same SQL, parsed anew, may well succeed."""
        return (self.sqlstate == "0A000" and self.routine == "RevalidateCachedQuery") or (
            self.sqlstate == "26000" and self.routine == "FetchPreparedStatement"
        )


class LanesUnavailable(BasaltError):  # noqa: N818  # a state of the house, named so by its front
    """No lane could answer. `disconnected`: PostgreSQL is away or went away underneath the request, whose
    outcome is then unknown. `busy`: every lane and the queue before them is full, nothing was sent."""

    def __init__(self, reason: Literal["disconnected", "busy"], *, retry_after_s: float = 1.0) -> None:
        message = (
            "The connection to the database was lost or cannot be made"
            if reason == "disconnected"
            else "All connections to the database are busy"
        )
        super().__init__(
            "SERVICE_UNAVAILABLE",
            503,
            message,
            hint="Retry after a moment",
            headers=(("retry-after", str(max(1, math.ceil(retry_after_s)))),),
        )
        self.reason = reason


def build_postgres_error(raw: PGresult) -> PostgresError:
    def field(code: DiagnosticField) -> str | None:
        value = raw.error_field(code)
        return None if value is None else value.decode("utf-8", "replace")

    position = field(DiagnosticField.STATEMENT_POSITION)
    return PostgresError(
        # libpq's own errors (a broken connection) have no SQLSTATE: class 08, connection exception
        field(DiagnosticField.SQLSTATE) or "08006",
        field(DiagnosticField.MESSAGE_PRIMARY) or raw.error_message.decode("utf-8", "replace").strip(),
        detail=field(DiagnosticField.MESSAGE_DETAIL),
        hint=field(DiagnosticField.MESSAGE_HINT),
        severity=field(DiagnosticField.SEVERITY_NONLOCALIZED) or "FATAL",
        position=int(position) if position else None,
        schema=field(DiagnosticField.SCHEMA_NAME),
        table=field(DiagnosticField.TABLE_NAME),
        column=field(DiagnosticField.COLUMN_NAME),
        constraint=field(DiagnosticField.CONSTRAINT_NAME),
        routine=field(DiagnosticField.SOURCE_FUNCTION),
    )
