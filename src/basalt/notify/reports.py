"""Providers' reports: what became of messages that they had taken (`senders.ReportReader` reads them).

The decisions are `basalt.apply_delivery_reports`': a delivery only moves forward, a hard bounce or a complaint ends the
address, what did not arrive takes the fall-back. So a report that comes twice changes nothing the second time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from basalt.postgres import Pool
from basalt.senders import StatusReport

APPLY_REPORTS = "select basalt.apply_delivery_reports(%(provider)s, %(reports)s::jsonb) as counts"


@dataclass(frozen=True, slots=True)
class ReportCounts:
    """`unknown` are about messages that nobody here has sent, or not yet: they wait a day."""

    applied: int
    unknown: int


async def apply_reports(pool: Pool, provider: str, reports: Sequence[StatusReport]) -> ReportCounts:
    if not reports:
        return ReportCounts(0, 0)
    parameters = {"provider": provider, "reports": orjson.dumps([_as_json(one) for one in reports]).decode()}
    async with pool.connection() as connection:
        row = await (await connection.execute(APPLY_REPORTS, parameters)).fetchone()
    assert row is not None
    return ReportCounts(row["counts"]["applied"], row["counts"]["unknown"])


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
