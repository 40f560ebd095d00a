"""Rows of `storage.objects`: how they are read, and what is in them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import orjson

from basalt.postgres import Query, Result
from basalt.storage.database import Scope, StorageDatabase
from basalt.storage.errors import StorageError
from basalt.storage.stores import Content

# ISO 8601 in UTC with milliseconds, as JavaScript writes times.
ISO: Final = """'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'"""

COLUMNS: Final = f"""o.id, o.bucket_id, o.name, o.version, o.owner_id, o.metadata, o.user_metadata,
    to_char(o.created_at at time zone 'utc', {ISO}), to_char(o.updated_at at time zone 'utc', {ISO})"""

FIND_OBJECT: Final = f"select {COLUMNS} from storage.objects as o where o.bucket_id = $1 and o.name = $2"  # noqa: S608

# The bucket by the rights of the owner, and with it the object for whom the bucket is public.
FIND_IN_BUCKET: Final = f"""
select b.public, {COLUMNS}
from storage.buckets as b
left join storage.objects as o on o.bucket_id = b.id and o.name = $2 and b.public
where b.id = $1
"""  # noqa: S608 - put together from constants


@dataclass(frozen=True, slots=True)
class StoredObject:
    """`etag` with its quotes, times as ISO 8601 text. `metadata` is the column as it is; rows written by SQL may lack
    what the API always writes."""

    id: str
    bucket_id: str
    name: str
    version: str | None
    owner_id: str | None
    metadata: dict[str, Any]
    user_metadata: dict[str, Any]
    created_at: str
    updated_at: str

    @property
    def size(self) -> int:
        size = self.metadata.get("size")
        return size if isinstance(size, int) else 0

    @property
    def content_type(self) -> str:
        return str(self.metadata.get("mimetype") or "application/octet-stream")

    @property
    def cache_control(self) -> str:
        return str(self.metadata.get("cacheControl") or "no-cache")

    @property
    def etag(self) -> str:
        return str(self.metadata.get("eTag") or "")

    @property
    def robots(self) -> str:
        return str(self.metadata.get("xRobotsTag") or "none")

    @property
    def content_encoding(self) -> str | None:
        encoding = self.metadata.get("contentEncoding")
        return encoding if isinstance(encoding, str) else None

    @property
    def last_modified(self) -> datetime:
        """When the bytes were written."""
        return _moment(str(self.metadata.get("lastModified")), self.updated_at)


@lru_cache(maxsize=4096)
def _moment(text: str, otherwise: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(otherwise)


def object_of_row(row: tuple[bytes | None, ...]) -> StoredObject:
    """From `COLUMNS`."""
    texts = [None if value is None else value.decode() for value in row]
    return StoredObject(
        id=texts[0] or "",
        bucket_id=texts[1] or "",
        name=texts[2] or "",
        version=texts[3],
        owner_id=texts[4],
        metadata=_json_object(row[5]),
        user_metadata=_json_object(row[6]),
        created_at=texts[7] or "1970-01-01T00:00:00.000Z",
        updated_at=texts[8] or "1970-01-01T00:00:00.000Z",
    )


def _json_object(value: bytes | None) -> dict[str, Any]:
    found = None if value is None else orjson.loads(value)
    return found if isinstance(found, dict) else {}


async def find_object(db: StorageDatabase, scope: Scope | None, bucket_id: str, name: str) -> StoredObject:
    """The object as the scope may see it, or whoever owns the tables. Raises StorageError NoSuchKey."""
    [result] = await db.run_or_refuse(scope, _find(bucket_id, name), read_only=True)
    return _only(result)


async def find_readable(db: StorageDatabase, scope: Scope, bucket_id: str, name: str) -> StoredObject:
    """The object where the scope may see it or its bucket is public. Raises StorageError NoSuchBucket, NoSuchKey."""
    [seen] = await db.run_or_refuse(scope, _find(bucket_id, name), read_only=True)
    if seen.rows:
        return object_of_row(seen.rows[0])
    query = Query(FIND_IN_BUCKET, (bucket_id.encode(), name.encode()))
    [in_bucket] = await db.run_or_refuse(None, query, read_only=True)
    if not in_bucket.rows:
        raise StorageError("NoSuchBucket")
    if in_bucket.rows[0][1] is None:
        raise StorageError("NoSuchKey")
    return object_of_row(in_bucket.rows[0][1:])


async def find_public(db: StorageDatabase, bucket_id: str, name: str) -> StoredObject:
    """The object of a public bucket. Raises StorageError NoSuchBucket, NoSuchKey."""
    query = Query(FIND_IN_BUCKET, (bucket_id.encode(), name.encode()))
    [result] = await db.run_or_refuse(None, query, read_only=True)
    if not result.rows or result.rows[0][0] != b"t":
        raise StorageError("NoSuchBucket")
    if result.rows[0][1] is None:
        raise StorageError("NoSuchKey")
    return object_of_row(result.rows[0][1:])


def _find(bucket_id: str, name: str) -> Query:
    if "\0" in name or "\0" in bucket_id:  # nothing has such a name, and PostgreSQL has no such text
        raise StorageError("NoSuchKey")
    return Query(FIND_OBJECT, (bucket_id.encode(), name.encode()))


def _only(result: Result) -> StoredObject:
    if not result.rows:
        raise StorageError("NoSuchKey")
    return object_of_row(result.rows[0])


def iso_now() -> str:
    """
    >>> len(iso_now())
    24
    """
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def build_metadata(
    content: Content,
    *,
    content_type: str,
    cache_control: str,
    robots: str | None = None,
    content_encoding: str | None = None,
) -> dict[str, Any]:
    """The `metadata` of a row, in the order in which Supabase writes it."""
    metadata: dict[str, Any] = {
        "eTag": f'"{content.etag}"',
        "size": content.size,
        "mimetype": content_type,
        "cacheControl": cache_control,
        "lastModified": iso_now(),
        "contentLength": content.size,
        "httpStatusCode": 200,
    }
    if robots is not None:
        metadata["xRobotsTag"] = robots
    if content_encoding is not None:
        metadata["contentEncoding"] = content_encoding
    return metadata
