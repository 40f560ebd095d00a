"""Puts a notification into a user's app. Service role only.

It writes the row that the app shows. Push and SMS have no provider in this version, and the answer says so
instead of claiming a delivery.
"""

import json

from _shared.callers import check_service
from _shared.requests import SendNotification

from basalt.functions import Context, FunctionError, Request

INSERT = """
insert into public.notifications (user_id, kind, title, body, data)
select u.id, %(kind)s, %(title)s, %(body)s, %(data)s::jsonb
from public.users as u
where u.id = %(user_id)s
returning id
"""


async def handler(request: Request, context: Context) -> object:
    check_service(request, context)
    wanted = request.parse(SendNotification)
    notification_id = await context.service_db.fetch_value(
        INSERT,
        {
            "user_id": wanted.userId,
            "kind": wanted.kind,
            "title": wanted.title,
            "body": wanted.body,
            "data": json.dumps(wanted.data),
        },
    )
    if notification_id is None:
        raise FunctionError(
            "USER_NOT_FOUND", "There is no such user", status=404, details={"user_id": str(wanted.userId)}
        )
    return {
        "success": True,
        "notification_id": notification_id,
        "channels": {"in_app": "stored", "push": "not_configured", "sms": "not_configured"},
    }
