"""Puts a notification into a user's app, and on the way to their devices and their phone. Service role only.

The row and the jobs that deliver it are one transaction; the answer waits for no provider.
"""

import json
from typing import Any

from _shared.callers import check_service
from _shared.fcm import is_configured
from _shared.requests import SendNotification

from basalt.functions import Context, FunctionError, Request, Transaction

INSERT = """
insert into public.notifications (user_id, kind, title, body, data)
select u.id, %(kind)s, %(title)s, %(body)s, %(data)s::jsonb
from public.users as u
where u.id = %(user_id)s
returning id, (select u.phone from public.users as u where u.id = user_id) as phone
"""
DEVICES = "select id from public.device_tokens where user_id = %(user_id)s"


async def handler(request: Request, context: Context) -> object:
    check_service(request, context)
    wanted = request.parse(SendNotification)
    async with context.service_db.transaction() as tx:
        made = await tx.fetch_one(
            INSERT,
            {
                "user_id": wanted.userId,
                "kind": wanted.kind,
                "title": wanted.title,
                "body": wanted.body,
                "data": json.dumps(wanted.data),
            },
        )
        if made is None:
            raise FunctionError(
                "USER_NOT_FOUND", "There is no such user", status=404, details={"user_id": str(wanted.userId)}
            )
        channels = {"in_app": "stored", "push": "not_asked_for", "sms": "not_asked_for"}
        if "push" in wanted.channels:
            channels["push"] = await _enqueue_pushes(context, tx, wanted, str(made["id"]))
        if "sms" in wanted.channels:
            channels["sms"] = await _enqueue_text(context, tx, wanted, made["phone"])
    return {"success": True, "notification_id": made["id"], "channels": channels}


async def _enqueue_pushes(
    context: Context, tx: Transaction, wanted: SendNotification, notification_id: str
) -> str:
    if not is_configured(context.env):
        return "not_configured"
    devices = await tx.fetch_all(DEVICES, {"user_id": wanted.userId})
    for device in devices:
        await context.queue.enqueue(
            "push-notification",
            {"notificationId": notification_id, "deviceId": str(device["id"])},
            queue="push",
            key=f"{notification_id}:{device['id']}",
            transaction=tx,
        )
    return "queued" if devices else "no_device"


async def _enqueue_text(context: Context, tx: Transaction, wanted: SendNotification, phone: Any) -> str:
    if not phone:
        return "no_phone"
    text = f"{wanted.title}: {wanted.body}" if wanted.body else wanted.title
    await context.notify.send_text(f"+{str(phone).removeprefix('+')}", text, transaction=tx)
    return "queued"
