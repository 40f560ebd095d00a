"""How an object comes to be, whatever protocol its bytes came by.

`permit_upload` asks the policies before a byte is stored: the row is inserted as the caller in a transaction that is
undone. `store_upload` takes the bytes, `commit_upload` asks the hook and writes the row as the tables' owner. Until
then nothing of it is visible, and the earlier object stays as it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from basalt.postgres import PostgresError, Query, Result
from basalt.storage.context import StorageContext
from basalt.storage.database import Scope
from basalt.storage.errors import StorageError, error_of_postgres
from basalt.storage.figures import BYTES
from basalt.storage.media import DEFAULT, is_allowed, parse_media_type
from basalt.storage.names import EMPTY_FOLDER, check_object_name, new_version
from basalt.storage.objects import COLUMNS, StoredObject, build_metadata, object_of_row
from basalt.storage.stores import Chunks, Content, StoreFullError, TooLargeError

MAX_USER_METADATA_BYTES: Final = 1024 * 1024

FIND_LIMITS: Final = """
select file_size_limit, to_json(allowed_mime_types) from storage.buckets where id = $1
"""

INSERT: Final = """
insert into storage.objects as o (bucket_id, name, version, owner, owner_id, metadata, user_metadata)
values ($1, $2, $3, $4::uuid, $5, $6::jsonb, $7::jsonb)
"""
OR_REPLACE: Final = """
on conflict (bucket_id, name) do update
set version = excluded.version, owner = excluded.owner, owner_id = excluded.owner_id, metadata = excluded.metadata,
    user_metadata = excluded.user_metadata
"""
TEST_CREATE: Final = INSERT
TEST_REPLACE: Final = INSERT + OR_REPLACE
CREATE: Final = f"{INSERT} returning {COLUMNS}"
REPLACE: Final = f"{INSERT} {OR_REPLACE} returning {COLUMNS}"

# Of two who finish the same upload at once, or one who finishes and one who aborts it, the first takes its row away.
FINISH: Final = f"""
with finished as (delete from storage.s3_multipart_uploads where id = $8 returning id)
insert into storage.objects as o (bucket_id, name, version, owner, owner_id, metadata, user_metadata)
select $1, $2, $3, $4::uuid, $5, $6::jsonb, $7::jsonb from finished
{OR_REPLACE} returning {COLUMNS}
"""  # noqa: S608 - put together from constants


@dataclass(frozen=True, slots=True)
class NewObject:
    """What somebody wants to store. `size` and `content_type` are None while they are not known; `upsert` allows to
    replace."""

    bucket_id: str
    name: str
    content_type: str | None
    cache_control: str = "no-cache"
    user_metadata: dict[str, Any] | None = None
    size: int | None = None
    upsert: bool = False
    robots: str | None = None
    content_encoding: str | None = None


@dataclass(frozen=True, slots=True)
class Permit:
    """The policies let it in: up to `limit` bytes, under `version`."""

    new: NewObject
    version: str
    limit: int


async def permit_upload(
    ctx: StorageContext, scope: Scope, new: NewObject, *, version: str | None = None
) -> Permit:
    """Name, bucket, type, permission, size: the first that is wrong counts. Raises StorageError."""
    check_object_name(new.name)
    user_metadata = _user_metadata(new)
    version = version or new_version()
    known = {"mimetype": new.content_type, "contentLength": new.size}
    metadata = {name: value for name, value in known.items() if value is not None}
    statement = Query(
        TEST_REPLACE if new.upsert else TEST_CREATE, _params(new, scope, version, metadata, user_metadata)
    )
    limits = _find_limits(new.bucket_id)
    try:
        found, _ = await ctx.db.run(scope, statement, before=[limits], rollback=True)
    except PostgresError as error:
        raise await _why_refused(ctx, new, error) from error
    limit = check_limits(ctx, new, found)
    if new.size is not None and new.size > limit:
        raise StorageError("EntityTooLarge")
    return Permit(new, version, limit)


async def store_upload(ctx: StorageContext, scope: Scope, permit: Permit, chunks: Chunks) -> StoredObject:
    """The bytes, then the row. Raises StorageError; then nothing is left."""
    return await commit_upload(ctx, scope, permit, await store_content(ctx, permit, chunks))


async def store_content(ctx: StorageContext, permit: Permit, chunks: Chunks) -> Content:
    """The bytes alone. Raises StorageError EntityTooLarge, StoreFull."""
    try:
        content = await ctx.store.put(permit.version, chunks, limit=permit.limit)
    except TooLargeError as error:
        raise StorageError("EntityTooLarge") from error
    except StoreFullError as error:
        raise StorageError("StoreFull") from error
    BYTES.add(content.size, "in")
    return content


async def commit_upload(
    ctx: StorageContext,
    scope: Scope,
    permit: Permit,
    content: Content,
    *,
    before: Sequence[Query] = (),
    upload_id: str | None = None,
) -> StoredObject:
    """The row for bytes that are stored. `before` runs as the tables' owner in the same transaction; `upload_id` is the
    multipart upload whose row the object's takes the place of. Raises StorageError, NoSuchUpload when that row is gone;
    then the bytes are taken away again."""
    new = permit.new
    metadata = build_metadata(
        content,
        content_type=new.content_type or DEFAULT,
        cache_control=new.cache_control,
        robots=new.robots,
        content_encoding=new.content_encoding,
    )
    params = _params(new, scope, permit.version, metadata, _user_metadata(new))
    if upload_id is not None:
        statement = Query(FINISH, (*params, upload_id.encode()))
    else:
        statement = Query(REPLACE if new.upsert else CREATE, params)
    try:
        await ctx.hook.check(new.bucket_id, new.name, permit.version, metadata, scope)
        *_, result = await ctx.db.run(scope.as_owner(scope.owner_id), statement, before=before)
    except PostgresError as error:  # what ended otherwise may have been committed: the sweep knows later
        await ctx.store.delete([permit.version])
        raise await _why_refused(ctx, new, error) from error
    except StorageError as error:
        if error.code == "UploadRefused":
            await ctx.store.delete([permit.version])
        raise
    finally:
        ctx.public.forget(new.bucket_id, new.name)
    if not result.rows:
        await ctx.store.delete([permit.version])
        raise StorageError("NoSuchUpload")
    return object_of_row(result.rows[0])


async def _why_refused(ctx: StorageContext, new: NewObject, error: PostgresError) -> StorageError:
    """The contract looks at the bucket and at the type before the policies; PostgreSQL says what came first to it."""
    if error.sqlstate not in ("42501", "23505", "23503"):
        return error_of_postgres(error)
    [found] = await ctx.db.run_or_refuse(None, _find_limits(new.bucket_id), read_only=True)
    try:
        check_limits(ctx, new, found)
    except StorageError as earlier:
        return earlier
    if error.constraint == "bucketid_objname":
        return StorageError("KeyAlreadyExists")
    return error_of_postgres(error)


def check_limits(ctx: StorageContext, new: NewObject, found: Result) -> int:
    """The most bytes that the bucket takes. Raises StorageError NoSuchBucket, InvalidMimeType."""
    if not found.rows:
        raise StorageError("NoSuchBucket")
    limit, allowed = found.rows[0]
    if new.content_type is not None and allowed is not None:
        media_type = parse_media_type(new.content_type)
        if not is_allowed(media_type, orjson.loads(allowed)):
            raise StorageError("InvalidMimeType", f"mime type {media_type} is not supported")
    if new.name.rpartition("/")[2] == EMPTY_FOLDER:
        return 0
    most = ctx.service.file_size_limit_bytes
    return most if limit is None else min(int(limit), most)


def _user_metadata(new: NewObject) -> bytes:
    encoded = orjson.dumps(new.user_metadata or {})
    if len(encoded) > MAX_USER_METADATA_BYTES:
        raise StorageError("InvalidRequest", "The user metadata is larger than 1 MiB", label="Error")
    return encoded


def _find_limits(bucket_id: str) -> Query:
    return Query(FIND_LIMITS, (bucket_id.encode(),))


def _params(
    new: NewObject, scope: Scope, version: str, metadata: dict[str, Any], user_metadata: bytes
) -> tuple[bytes | None, ...]:
    return (
        new.bucket_id.encode(),
        new.name.encode(),
        version.encode(),
        None if scope.owner is None else scope.owner.encode(),
        None if scope.owner_id is None else scope.owner_id.encode(),
        orjson.dumps(metadata),
        user_metadata,
    )
