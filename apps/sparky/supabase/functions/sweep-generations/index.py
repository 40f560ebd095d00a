"""Removes pictures that no gallery shows: what a killed process or a deleted account left behind. Service role only:
its schedule in config.toml calls it each hour."""

from _shared.callers import check_service

from basalt.functions import Context, Request

BATCH = 500
LIST = "select name from public.list_orphaned_generations(%(limit)s) as orphans (name)"


async def handler(request: Request, context: Context) -> object:
    check_service(request, context)
    bucket, removed = context.service_storage.from_("generations"), 0
    while names := [row["name"] for row in await context.service_db.fetch_all(LIST, {"limit": BATCH})]:
        gone = len(await bucket.remove(names))
        removed += gone
        if gone == 0 or len(names) < BATCH:
            break
    return {"removed": removed}
