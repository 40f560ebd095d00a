"""Applies the caller to a gig. One transaction; the rules live in public.apply_to_gig."""

from _shared.callers import check_user
from _shared.requests import ApplyToGig

from basalt.functions import Context, Request

APPLY = "select public.apply_to_gig(%(gig_id)s, %(cover_message)s)"


async def handler(request: Request, context: Context) -> object:
    check_user(request, context)
    wanted = request.parse(ApplyToGig)
    answer = await context.db.fetch_value(
        APPLY, {"gig_id": wanted.gigId, "cover_message": wanted.coverMessage}
    )
    return {"success": True, **answer}
