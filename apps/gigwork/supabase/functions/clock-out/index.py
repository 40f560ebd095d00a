"""Completes the caller's timesheet: hours, pay, points, streak and achievements in one transaction.

The rules live in public.clock_out; a repeated call answers the first one's receipt and changes nothing.
"""

from _shared.callers import check_user
from _shared.requests import ClockOut

from basalt.functions import Context, Request

CLOCK_OUT = "select public.clock_out(%(timesheet_id)s, %(lat)s, %(lng)s)"


async def handler(request: Request, context: Context) -> object:
    check_user(request, context)
    wanted = request.parse(ClockOut)
    return await context.db.fetch_value(
        CLOCK_OUT, {"timesheet_id": wanted.timesheetId, "lat": wanted.lat, "lng": wanted.lng}
    )
