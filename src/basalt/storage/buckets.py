"""Buckets: made, read, changed, emptied and deleted as the caller."""

import re
from dataclasses import dataclass
from typing import Any, Final

import orjson

from basalt.postgres import PostgresError, Query
from basalt.storage.context import StorageContext
from basalt.storage.database import Scope
from basalt.storage.errors import StorageError, error_of_postgres
from basalt.storage.media import check_pattern
from basalt.storage.names import check_bucket_name
from basalt.storage.objects import ISO

SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(b|kb|mb|gb)?\s*", re.IGNORECASE | re.ASCII)
FACTORS: Final = {"b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3}
MAX_SIZE: Final = 2**63 - 1
EMPTY_BATCH: Final = 10_000

CREATE_BUCKET: Final = """
insert into storage.buckets (id, name, owner, owner_id, public, file_size_limit, allowed_mime_types)
values ($1, $2, $3::uuid, $4, $5, $6::bigint,
    case when $7::jsonb is not null then array(select jsonb_array_elements_text($7::jsonb)) end)
"""

BUCKET_JSON: Final = f"""
json_build_object('id', b.id, 'name', b.name, 'owner', coalesce(b.owner::text, ''), 'public', coalesce(b.public,
false),
    'file_size_limit', b.file_size_limit, 'allowed_mime_types', b.allowed_mime_types,
    'created_at', to_char(b.created_at at time zone 'utc', {ISO}),
    'updated_at', to_char(b.updated_at at time zone 'utc', {ISO}))
"""
GET_BUCKET: Final = f"select {BUCKET_JSON} from storage.buckets as b where b.id = $1"  # noqa: S608

UPDATE_BUCKET: Final = """
update storage.buckets
set public = coalesce($2::boolean, public),
    file_size_limit = case when $3::boolean then $4::bigint else file_size_limit end,
    allowed_mime_types = case when $5::boolean
        then case when $6::jsonb is not null then array(select jsonb_array_elements_text($6::jsonb)) end
        else allowed_mime_types end,
    updated_at = now()
where id = $1
returning id
"""
DELETE_BUCKET: Final = "delete from storage.buckets where id = $1 returning id"
HAS_OBJECTS: Final = "select exists (select from storage.objects where bucket_id = $1)"
ABANDON_UPLOADS: Final = "delete from storage.s3_multipart_uploads where bucket_id = $1"
FIND_BUCKET: Final = "select id from storage.buckets where id = $1"
EMPTY_BUCKET: Final = """
delete from storage.objects
where id in (select id from storage.objects where bucket_id = $1 limit $2)
returning id
"""


@dataclass(frozen=True, slots=True)
class NewBucket:
    """`file_size_limit` in bytes; None is the server's limit. `allowed_mime_types` None is any type."""

    id: str
    name: str
    public: bool = False
    file_size_limit: int | None = None
    allowed_mime_types: list[str] | None = None


@dataclass(frozen=True, slots=True)
class BucketChange:
    """What a bucket becomes; the `has_…` tell whether a value, which may be None, was given."""

    public: bool | None = None
    has_limit: bool = False
    file_size_limit: int | None = None
    has_types: bool = False
    allowed_mime_types: list[str] | None = None


async def create_bucket(ctx: StorageContext, scope: Scope, new: NewBucket) -> None:
    """Raises StorageError InvalidBucketName, EntityTooLarge, InvalidMimeType, BucketAlreadyExists, AccessDenied."""
    check_bucket_name(new.id)
    check_bucket_name(new.name)
    _check_limits(ctx, new.file_size_limit, new.allowed_mime_types)
    params = (
        new.id.encode(),
        new.name.encode(),
        _text(scope.owner),
        _text(scope.owner_id),
        _flag(new.public),
        _number(new.file_size_limit),
        _list(new.allowed_mime_types),
    )
    try:
        await ctx.db.run(scope, Query(CREATE_BUCKET, params))
    except PostgresError as error:
        if error.sqlstate == "23505":
            raise StorageError("BucketAlreadyExists") from error
        raise error_of_postgres(error) from error


async def load_bucket(ctx: StorageContext, scope: Scope, bucket_id: str) -> bytes:
    """The bucket as JSON. Raises StorageError NoSuchBucket."""
    [result] = await ctx.db.run_or_refuse(scope, Query(GET_BUCKET, (bucket_id.encode(),)), read_only=True)
    if not result.rows:
        raise StorageError("NoSuchBucket")
    return result.rows[0][0] or b""


async def update_bucket(ctx: StorageContext, scope: Scope, bucket_id: str, change: BucketChange) -> None:
    """Raises StorageError NoSuchBucket, EntityTooLarge, InvalidMimeType, AccessDenied."""
    _check_limits(ctx, change.file_size_limit, change.allowed_mime_types)
    params = (
        bucket_id.encode(),
        None if change.public is None else _flag(change.public),
        _flag(change.has_limit),
        _number(change.file_size_limit),
        _flag(change.has_types),
        _list(change.allowed_mime_types),
    )
    [result] = await ctx.db.run_or_refuse(scope, Query(UPDATE_BUCKET, params))
    ctx.public.forget_all()
    if not result.rows:
        raise StorageError("NoSuchBucket")


async def delete_bucket(ctx: StorageContext, scope: Scope, bucket_id: str) -> None:
    """Multipart uploads that are under way do not keep a bucket. Raises StorageError NoSuchBucket,
    ResourceNotEmpty."""
    name = bucket_id.encode()
    try:
        [result] = await ctx.db.run(scope, Query(DELETE_BUCKET, (name,)))
    except PostgresError as error:
        if error.sqlstate != "23503":
            raise error_of_postgres(error) from error
        # The row was the caller's to delete, for something still refers to it.
        [found] = await ctx.db.run_or_refuse(None, Query(HAS_OBJECTS, (name,)))
        if found.rows[0][0] == b"t":
            raise StorageError("ResourceNotEmpty") from error
        _, result = await ctx.db.run_or_refuse(
            scope, Query(DELETE_BUCKET, (name,)), before=[Query(ABANDON_UPLOADS, (name,))]
        )
    ctx.public.forget_all()
    if not result.rows:
        raise StorageError("NoSuchBucket")


async def empty_bucket(ctx: StorageContext, scope: Scope, bucket_id: str) -> None:
    """Every object that the caller may delete is gone when this returns. Raises StorageError NoSuchBucket."""
    [found] = await ctx.db.run_or_refuse(scope, Query(FIND_BUCKET, (bucket_id.encode(),)), read_only=True)
    if not found.rows:
        raise StorageError("NoSuchBucket")
    batch = Query(EMPTY_BUCKET, (bucket_id.encode(), b"%d" % EMPTY_BATCH))
    while True:
        [gone] = await ctx.db.run_or_refuse(scope, batch)
        ctx.public.forget_all()
        if len(gone.rows) < EMPTY_BATCH:
            return


def parse_size_limit(value: object) -> int | None:
    """Bytes of a number or of a text with a decimal unit. Raises StorageError InvalidRequest.

    >>> parse_size_limit("20mb"), parse_size_limit(5), parse_size_limit(None)
    (20000000, 5, None)
    """
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SIZE:
        return value
    if isinstance(value, float) and 0 <= value <= MAX_SIZE:
        return int(value)
    if isinstance(value, str) and (found := SIZE.fullmatch(value)):
        size = int(float(found[1]) * FACTORS[(found[2] or "b").lower()])
        if size <= MAX_SIZE:
            return size
    raise StorageError(
        "InvalidRequest",
        "body/file_size_limit must be a number of bytes or a text such as 20mb",
        label="Error",
    )


def _check_limits(ctx: StorageContext, limit: int | None, types: list[str] | None) -> None:
    if limit is not None and limit > ctx.service.file_size_limit_bytes:
        raise StorageError("EntityTooLarge")
    for pattern in types or ():
        check_pattern(pattern)


def _text(value: str | None) -> bytes | None:
    return None if value is None else value.encode()


def _flag(value: bool) -> bytes:
    return b"true" if value else b"false"


def _number(value: int | None) -> bytes | None:
    return None if value is None else b"%d" % value


def _list(value: Any) -> bytes | None:
    return None if value is None else orjson.dumps(value)
