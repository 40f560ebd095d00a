"""Pushes a notification to one device: a job for each, so that a retry repeats nothing that has arrived."""

from _shared.fcm import DeadDeviceError, send_push

from basalt.functions import Context, Job

LOAD = """
select n.title, n.body, n.data, d.token
from public.notifications as n
join public.device_tokens as d on d.user_id = n.user_id
where n.id = %(notification_id)s and d.id = %(device_id)s
"""
FORGET_DEVICE = "delete from public.device_tokens where id = %(device_id)s and token = %(token)s"


async def perform(job: Job, context: Context) -> object:
    device_id = job.payload["deviceId"]
    found = await context.service_db.fetch_one(
        LOAD, {"notification_id": job.payload["notificationId"], "device_id": device_id}
    )
    if found is None:
        return {"skipped": "the notification or the device is gone"}
    data = {name: value if isinstance(value, str) else str(value) for name, value in found["data"].items()}
    try:
        name = await send_push(
            context.env, found["token"], title=found["title"], body=found["body"], data=data
        )
    except DeadDeviceError:
        await context.service_db.execute(FORGET_DEVICE, {"device_id": device_id, "token": found["token"]})
        return {"skipped": "the app is no longer on the device"}
    return {"message": name}
