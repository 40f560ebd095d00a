"""Providers' reports: what became of messages that they had taken (`senders.ReportReader` reads them).

The decisions are `basalt.apply_delivery_reports`': a delivery only moves forward, a hard bounce or a complaint ends the
address, what did not arrive takes the fall-back. So a report that comes twice changes nothing the second time.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import orjson
import psycopg

from basalt import observe
from basalt.notify.measures import REPORTS
from basalt.postgres import Pool
from basalt.senders import StatusReport

APPLY_REPORTS = "select basalt.apply_delivery_reports(%(provider)s, %(reports)s::jsonb) as counts"


@dataclass(frozen=True, slots=True)
class ReportCounts:
    """`unknown` are about messages that nobody here has sent, or not yet: they wait a day. `refused` are those that the
    database did not take."""

    applied: int = 0
    unknown: int = 0
    refused: int = 0

    def __add__(self, other: "ReportCounts") -> "ReportCounts":
        return ReportCounts(
            self.applied + other.applied, self.unknown + other.unknown, self.refused + other.refused
        )


async def apply_reports(pool: Pool, provider: str, reports: Sequence[StatusReport]) -> ReportCounts:
    """Raises psycopg.OperationalError and the pool's errors while the database is away."""
    counts = await _apply(pool, provider, reports) if reports else ReportCounts()
    for outcome, count in asdict(counts).items():
        if count:
            REPORTS.add(count, provider, outcome)
    return counts


async def _apply(pool: Pool, provider: str, reports: Sequence[StatusReport]) -> ReportCounts:
    """An app may put triggers on the engine's tables. A report for which one raises costs itself alone: what the
    database refuses is halved until it is found."""
    rendered = orjson.dumps([_as_json(one) for one in reports]).decode()
    parameters = {
        "provider": provider,
        "reports": rendered.replace("\\u0000", "\\ufffd"),
    }  # jsonb holds no NUL
    try:
        async with pool.connection() as connection:
            row = await (await connection.execute(APPLY_REPORTS, parameters)).fetchone()
    except psycopg.OperationalError:
        raise
    except psycopg.DatabaseError as error:
        if len(reports) == 1:
            observe.event("delivery_report_refused", level="error", provider=provider, reason=str(error))
            return ReportCounts(refused=1)
        half = len(reports) // 2
        return await _apply(pool, provider, reports[:half]) + await _apply(pool, provider, reports[half:])
    assert row is not None
    return ReportCounts(**row["counts"])


def _as_json(report: StatusReport) -> dict[str, object]:
    return {
        "id": report.id,
        "message_id": report.message_id,
        "status": report.status,
        "at": report.at.isoformat(),
        "error_code": report.error_code,
        "is_permanent": report.is_permanent,
        "response": dict(report.response),
    }
