"""What the command line shows of alerts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import psycopg
from psycopg.rows import class_row

from basalt.postgres import DatabaseAccess

LIST_ALERTS: Final = """
select id, rule, subject, severity, state, value, threshold, summary, pending_since, fired_at, resolved_at
from basalt.alerts
where state <> 'resolved' or %(resolved)s
order by state = 'resolved', coalesce(resolved_at, fired_at, pending_since) desc
limit %(limit)s
"""


@dataclass(frozen=True, slots=True)
class AlertRow:
    id: int
    rule: str
    subject: str
    severity: str
    state: str
    value: float
    threshold: float
    summary: str
    pending_since: datetime
    fired_at: datetime | None
    resolved_at: datetime | None


def list_alerts(access: DatabaseAccess, *, with_resolved: bool, limit: int) -> Sequence[AlertRow]:
    """Open alerts first, then what was resolved, the newest first."""
    with (
        psycopg.connect(access.conninfo("postgres"), autocommit=True) as connection,
        connection.cursor(row_factory=class_row(AlertRow)) as cursor,
    ):
        return cursor.execute(LIST_ALERTS, {"resolved": with_resolved, "limit": limit}).fetchall()
