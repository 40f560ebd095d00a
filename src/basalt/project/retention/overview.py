"""Every policy with what is due and what its last run did."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import psycopg

from basalt.config import Settings
from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess
from basalt.project.retention.running import connect
from basalt.project.retention.statements import count_due

LAST_RUN: Final = """
select started_at, row_count, error from basalt.retention_runs where policy = %s order by id desc limit 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRow:
    """`problem` is why it does not fit its table, empty where it does."""

    name: str
    table: str
    action: str
    schedule: str
    due: int
    problem: str
    last_at: datetime | None
    last_rows: int
    last_error: str | None


def describe_policies(settings: Settings, access: DatabaseAccess) -> Sequence[PolicyRow]:
    rows = []
    with connect(access) as connection:
        for name, policy in sorted(settings.basalt.retention.items()):
            due, problem = 0, ""
            try:
                due = count_due(connection, name, policy)
            except (BasaltError, psycopg.Error) as error:
                problem = str(error).strip().splitlines()[0]
            last = connection.execute(LAST_RUN, [name]).fetchone() or (None, 0, None)
            rows.append(
                PolicyRow(
                    name=name,
                    table=policy.table,
                    action=policy.action,
                    schedule=policy.schedule if policy.enabled else "off",
                    due=due,
                    problem=problem,
                    last_at=last[0],
                    last_rows=last[1],
                    last_error=last[2],
                )
            )
    return rows
