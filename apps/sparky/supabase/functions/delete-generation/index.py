"""Takes a generation out of its owner's gallery: the row, what the cache remembers of it, and the picture."""

from _shared.callers import check_user
from _shared.errors import error
from _shared.requests import DeleteGeneration

from basalt.functions import Context, Request, StorageError

# As the caller: the policy of the table says whose it is. The row goes first; without it the sweeper takes the picture.
DELETE = "delete from public.generations where id = %(id)s returning result_path"


async def handler(request: Request, context: Context) -> object:
    check_user(request, context)
    wanted = request.parse(DeleteGeneration)
    row = await context.db.fetch_one(DELETE, {"id": wanted.generationId})
    if row is None:
        raise error("GENERATION_NOT_FOUND", details={"generation_id": str(wanted.generationId)})
    if row["result_path"] is not None:
        try:
            await context.service_storage.from_("generations").remove([row["result_path"]])
        except StorageError as problem:
            context.log.warning("%s is left to the sweeper: %s", row["result_path"], problem)
    return {"deleted": True}
