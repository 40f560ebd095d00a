"""Says something to a user: in their app, on their devices, by text message. Service role only.

An event of the notification engine: the answer waits for no provider, and each user gets it by the ways they want.
"""

from _shared.callers import check_service
from _shared.requests import SendNotification

from basalt.functions import Context, FunctionError, Request

FIND_USER = "select exists (select from public.users where id = %(user_id)s)"


async def handler(request: Request, context: Context) -> object:
    check_service(request, context)
    wanted = request.parse(SendNotification)
    if not await context.service_db.fetch_value(FIND_USER, {"user_id": wanted.userId}):
        raise FunctionError(
            "USER_NOT_FOUND", "There is no such user", status=404, details={"user_id": str(wanted.userId)}
        )
    # `message` has no text message, which would take the place of a push that fails.
    event_id = await context.notify.issue(
        "message.text" if "sms" in wanted.channels else "message",
        subject_id=wanted.userId,
        channels=["in_app", *dict.fromkeys(wanted.channels)],
        context={
            "title": wanted.title,
            "body": wanted.body,
            "data": {**wanted.data, "kind": wanted.kind},
        },
    )
    return {"success": True, "event_id": event_id}
