"""Unlocks what a user has newly earned: the caller's own, or anybody's for the service role."""

from _shared.callers import check_post, check_user
from _shared.requests import CheckAchievements

from basalt.functions import Context, Request

CHECK = "select public.check_achievements(%(user_id)s)"


async def handler(request: Request, context: Context) -> object:
    if context.role == "service_role":
        check_post(request)
    else:
        check_user(request, context)
    wanted = request.parse(CheckAchievements) if request.body else CheckAchievements()
    unlocked = await context.db.fetch_value(CHECK, {"user_id": wanted.userId})
    return {"success": True, "new_achievements": unlocked}
