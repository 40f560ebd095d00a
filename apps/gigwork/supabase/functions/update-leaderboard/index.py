"""Recomputes the standings. Service role only: its schedule in config.toml calls it each hour of Asia/Singapore.

All periods of one call are refreshed in one transaction, so that they agree with each other; then the cached ones
follow.
"""

from typing import get_args

from _shared.callers import check_service
from _shared.requests import PeriodType, UpdateLeaderboard
from _shared.standings import renew_standings

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
    if wanted.periodStart is None:
        for period_type in period_types:
            await renew_standings(context, period_type)
    return {"success": True, "periods": periods}
