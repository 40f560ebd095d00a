"""Opens the caller's timesheet at a gig. One transaction; the rules live in public.clock_in."""

from _shared.callers import check_user
from _shared.requests import ClockIn

from basalt.functions import Context, Request

CLOCK_IN = "select public.clock_in(%(gig_id)s, %(lat)s, %(lng)s)"


async def handler(request: Request, context: Context) -> object:
    check_user(request, context)
    wanted = request.parse(ClockIn)
    return await context.db.fetch_value(
        CLOCK_IN, {"gig_id": wanted.gigId, "lat": wanted.lat, "lng": wanted.lng}
    )
