"""The standings of a running period for signed-in users: `GET /functions/v1/leaderboard?period=weekly`."""

from typing import get_args

from _shared.requests import PeriodType
from _shared.standings import read_standings

from basalt.functions import Context, FunctionError, Request


async def handler(request: Request, context: Context) -> object:
    if context.user_id is None and context.role != "service_role":
        raise FunctionError("UNAUTHORIZED", "Sign in first", status=401)
    period = request.query.get("period", "weekly")
    if period not in get_args(PeriodType):
        raise FunctionError(
            "VALIDATION_ERROR",
            f"period: one of {', '.join(get_args(PeriodType))}",
            details=[{"path": "period", "message": "unknown period"}],
        )
    return {"period": period, "standings": await read_standings(context, period)}
