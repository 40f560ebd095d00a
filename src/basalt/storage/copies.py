"""Copy and move: other names for bytes that are there already."""

from dataclasses import dataclass
from typing import Any, Final

from basalt.postgres import PostgresError, Query
from basalt.storage.context import StorageContext
from basalt.storage.database import Scope
from basalt.storage.errors import StorageError, content_missing, error_of_postgres
from basalt.storage.names import check_object_name, new_version
from basalt.storage.objects import StoredObject, find_object
from basalt.storage.stores import Content, ContentMissingError, StoreFullError
from basalt.storage.uploads import (
    FIND_LIMITS,
    NewObject,
    check_limits,
    commit_upload,
    permit_upload,
)

MOVE: Final = """
update storage.objects
set bucket_id = $3, name = $4, version = $5, owner = $6::uuid, owner_id = $7
where bucket_id = $1 and name = $2 and version is not distinct from $8
returning id
"""


@dataclass(frozen=True, slots=True)
class Replacement:
    """What a copy has instead of the source's own; None keeps it."""

    content_type: str | None = None
    cache_control: str | None = None
    user_metadata: dict[str, Any] | None = None
    content_encoding: str | None = None
    robots: str | None = None


async def copy_object(
    ctx: StorageContext,
    scope: Scope,
    source: StoredObject,
    *,
    bucket_id: str,
    name: str,
    upsert: bool,
    replacement: Replacement | None = None,
) -> StoredObject:
    """A copy of `source`, which the caller may see, as `bucket_id/name`. `replacement` None keeps all metadata, else
    what it leaves open is the source's. Raises StorageError."""
    change = replacement or Replacement()
    new = NewObject(
        bucket_id=bucket_id,
        name=name,
        content_type=change.content_type or source.content_type,
        cache_control=change.cache_control or source.cache_control,
        user_metadata=source.user_metadata if change.user_metadata is None else change.user_metadata,
        size=source.size,
        upsert=upsert,
        robots=change.robots or source.metadata.get("xRobotsTag"),
        content_encoding=change.content_encoding or source.content_encoding,
    )
    permit = await permit_upload(ctx, scope, new)
    await _copy_bytes(ctx, source, permit.version)
    content = Content(permit.version, source.size, source.etag.strip('"'))
    return await commit_upload(ctx, scope, permit, content)


async def move_object(
    ctx: StorageContext, scope: Scope, bucket_id: str, name: str, *, to_bucket: str, to_name: str
) -> None:
    """The row keeps its id, the mover becomes the owner, the version changes. Raises StorageError."""
    check_object_name(to_name)
    source = await find_object(ctx.db, scope, bucket_id, name)
    target = NewObject(to_bucket, to_name, source.content_type, size=source.size)
    [limits] = await ctx.db.run_or_refuse(None, Query(FIND_LIMITS, (to_bucket.encode(),)), read_only=True)
    if source.size > check_limits(ctx, target, limits):
        raise StorageError("EntityTooLarge")
    version = new_version()
    await _copy_bytes(ctx, source, version)
    params = (
        bucket_id,
        name,
        to_bucket,
        to_name,
        version,
        scope.owner,
        scope.owner_id,
        source.version,
    )
    try:
        [result] = await ctx.db.run(
            scope, Query(MOVE, tuple(None if param is None else param.encode() for param in params))
        )
    except PostgresError as error:
        await ctx.store.delete([version])
        if error.constraint == "bucketid_objname":
            raise StorageError("ResourceAlreadyExists") from error
        raise error_of_postgres(error) from error
    finally:
        ctx.public.forget(bucket_id, name)
    if not result.rows:  # a policy hides the row from updates, or somebody else has replaced it since
        await ctx.store.delete([version])
        still = await find_object(ctx.db, scope, bucket_id, name)
        raise StorageError("AccessDenied" if still.version == source.version else "ResourceLocked")


async def _copy_bytes(ctx: StorageContext, source: StoredObject, version: str) -> None:
    try:
        await ctx.store.copy(source.version or "", version)
    except ContentMissingError as error:
        raise content_missing() from error
    except StoreFullError as error:
        raise StorageError("StoreFull") from error
