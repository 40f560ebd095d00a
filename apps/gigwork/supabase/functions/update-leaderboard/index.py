"""Recomputes the standings. Service role only: a schedule calls it each hour, with an empty body.

All periods of one call are refreshed in one transaction, so that they agree with each other.
"""

from typing import get_args

from _shared.callers import check_service
from _shared.requests import PeriodType, UpdateLeaderboard

from basalt.functions import Context, Request

REFRESH = "select public.refresh_leaderboard(%(period_type)s, %(period_start)s::date)"


async def handler(request: Request, context: Context) -> object:
    check_service(request, context)
    wanted = request.parse(UpdateLeaderboard) if request.body else UpdateLeaderboard()
    period_types = [wanted.periodType] if wanted.periodType else list(get_args(PeriodType))
    async with context.service_db.transaction() as tx:
        periods = [
            await tx.fetch_value(REFRESH, {"period_type": period_type, "period_start": wanted.periodStart})
            for period_type in period_types
        ]
    return {"success": True, "periods": periods}
