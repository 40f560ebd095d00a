"""Tells Mixpanel of an event. Jobs come from the triggers of the migration `outbox`."""

from _shared.mixpanel import track

from basalt.functions import Context, Job


async def perform(job: Job, context: Context) -> object:
    if not context.env.get("MIXPANEL_PROJECT_TOKEN"):
        return {"skipped": "Mixpanel is not configured"}
    event = job.payload
    await track(
        context.env,
        event["event"],
        event["properties"],
        user_id=event["userId"],
        time_ms=event["time"],
        insert_id=f"gigwork-{job.id}",
    )
    return {"tracked": event["event"]}
