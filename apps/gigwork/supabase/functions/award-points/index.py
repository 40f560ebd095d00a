"""Awards or corrects points. Service role only; every award is a row of points_log."""

from _shared.callers import check_service
from _shared.requests import AwardPoints

from basalt.functions import Context, Request

AWARD = """
select public.increment_user_points(%(user_id)s, %(points)s::int, %(reason)s, %(source_id)s::uuid)
"""


async def handler(request: Request, context: Context) -> object:
    check_service(request, context)
    wanted = request.parse(AwardPoints)
    total_points = await context.service_db.fetch_value(
        AWARD,
        {
            "user_id": wanted.userId,
            "points": wanted.points,
            "reason": wanted.reason,
            "source_id": wanted.sourceId,
        },
    )
    return {"success": True, "total_points": total_points}
