"""Objects deleted as the caller. Their bytes go later: a trigger notes the versions that no row names any more."""

from collections.abc import Sequence
from typing import Final

import orjson

from basalt.postgres import Query
from basalt.storage.context import StorageContext
from basalt.storage.database import Scope
from basalt.storage.errors import StorageError
from basalt.storage.objects import ISO

DELETE_OBJECT: Final = "delete from storage.objects where bucket_id = $1 and name = $2 returning id"
OBJECT_EXISTS: Final = "select from storage.objects where bucket_id = $1 and name = $2"

DELETE_OBJECTS: Final = f"""
with gone as (
    delete from storage.objects as o
    using jsonb_to_recordset($2::jsonb) as wanted (name text, version text)
    where o.bucket_id = $1 and o.name = wanted.name and o.version = coalesce(wanted.version, o.version)
    returning o.*
)
select coalesce(json_agg(json_build_object(
    'name', g.name, 'bucket_id', g.bucket_id, 'owner', g.owner, 'owner_id', g.owner_id, 'version', g.version, 'id',
    g.id, 'updated_at', to_char(g.updated_at at time zone 'utc', {ISO}), 'created_at', to_char(g.created_at at time
    zone 'utc', {ISO}), 'last_accessed_at', to_char(g.last_accessed_at at time zone 'utc', {ISO}), 'metadata',
    g.metadata, 'user_metadata', g.user_metadata)), '[]')
from gone as g
"""  # noqa: S608 - put together from constants


async def delete_object(ctx: StorageContext, scope: Scope, bucket_id: str, name: str) -> None:
    """Raises StorageError NoSuchKey where there is none, AccessDenied where it is not the caller's to see or
    delete."""
    params = (bucket_id.encode(), name.encode())
    [gone] = await ctx.db.run_or_refuse(scope, Query(DELETE_OBJECT, params))
    ctx.public.forget(bucket_id, name)
    if gone.rows:
        return
    [found] = await ctx.db.run_or_refuse(None, Query(OBJECT_EXISTS, params), read_only=True)
    if found.rows:
        raise StorageError("AccessDenied", "Access denied")
    raise StorageError("NoSuchKey")


async def delete_objects(
    ctx: StorageContext, scope: Scope, bucket_id: str, names: Sequence[str | tuple[str, str]]
) -> bytes:
    """The deleted rows as a JSON array; names that do not exist or may not be deleted are missing from it. A name
    with a version goes only if that is its version."""
    wanted = [
        {"name": name} if isinstance(name, str) else {"name": name[0], "version": name[1]} for name in names
    ]
    query = Query(DELETE_OBJECTS, (bucket_id.encode(), orjson.dumps(wanted)))
    [result] = await ctx.db.run_or_refuse(scope, query)
    for entry in wanted:
        ctx.public.forget(bucket_id, entry["name"])
    return result.rows[0][0] or b"[]"
