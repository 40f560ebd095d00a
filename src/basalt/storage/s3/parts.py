"""Parts of a multipart upload: taken in, copied from an object, listed.

The sum of an upload's parts keeps to the limit of its bucket: it is looked at before a byte of a part is stored, and
once more, under the upload's lock, when the part is written down.
"""

import re
from collections.abc import AsyncIterator
from typing import Final
from uuid import uuid4

from basalt.http import Response
from basalt.postgres import Query
from basalt.storage.errors import StorageError, content_missing
from basalt.storage.figures import BYTES
from basalt.storage.objects import ISO, StoredObject, iso_now
from basalt.storage.s3.call import S3Call
from basalt.storage.s3.objects import find_source
from basalt.storage.s3.uploads import Upload, find_upload
from basalt.storage.s3.xml import Value, xml_response
from basalt.storage.stores import Chunks, ContentMissingError, Part, StoreFullError, TooLargeError
from basalt.storage.uploads import permit_upload

MAX_PART_NUMBER: Final = 10_000
MAX_PARTS: Final = 1000
COPY_RANGE: Final = re.compile(r"bytes=([0-9]{1,18})-([0-9]{1,18})")

OTHER_PARTS: Final = """
select coalesce(sum(p.size), 0) from storage.s3_multipart_uploads_parts as p
where p.upload_id = $1 and p.part_number <> $2::integer
"""

LOCK_UPLOAD: Final = "select u.id from storage.s3_multipart_uploads as u where u.id = $1 for update"
INSERT_PART: Final = """
insert into storage.s3_multipart_uploads_parts
    (id, upload_id, size, part_number, bucket_id, key, etag, owner_id, version)
select $2::uuid, u.id, $3::bigint, $4::integer, u.bucket_id, u.key, $5, $6, u.version
from storage.s3_multipart_uploads as u
where u.id = $1
    and $3::bigint + (
        select coalesce(sum(p.size), 0) from storage.s3_multipart_uploads_parts as p
        where p.upload_id = u.id and p.part_number <> $4::integer
    ) <= $7::bigint
returning id
"""
REPLACE_PART: Final = """
delete from storage.s3_multipart_uploads_parts as p
using storage.s3_multipart_uploads_parts as newer
where newer.id = $1::uuid and p.upload_id = newer.upload_id and p.part_number = newer.part_number
    and p.id <> newer.id
"""
COUNT_PROGRESS: Final = """
update storage.s3_multipart_uploads as u
set in_progress_size = (
    select coalesce(sum(p.size), 0) from storage.s3_multipart_uploads_parts as p where p.upload_id = u.id)
where u.id = $1
"""

LIST_PARTS: Final = f"""
select p.part_number, to_char(p.created_at at time zone 'utc', {ISO}), p.etag, p.size
from storage.s3_multipart_uploads_parts as p
where p.upload_id = $1 and p.part_number > $2::integer
order by p.part_number
limit $3::bigint
"""  # noqa: S608 - put together from constants


async def upload(call: S3Call) -> Response:
    part = await _receive(call, call.payload.size, call.payload.stream())
    return Response(200, [(b"etag", f'"{part.etag}"'.encode()), (b"access-control-expose-headers", b"etag")])


async def copy(call: S3Call) -> Response:
    source = await find_source(call)
    start, stop = copy_range(call.request.headers.get("x-amz-copy-source-range"), source.size)
    part = await _receive(call, stop - start, _read(call, source, start, stop))
    return xml_response("CopyPartResult", [("LastModified", iso_now()), ("ETag", f'"{part.etag}"')])


def copy_range(header: str | None, size: int) -> tuple[int, int]:
    """Start and stop (exclusive) within a source of `size` bytes. Raises StorageError InvalidRange, which is 400
    here.

    >>> copy_range("bytes=2-5", 10), copy_range(None, 10)
    ((2, 6), (0, 10))
    """
    if header is None:
        return 0, size
    found = COPY_RANGE.fullmatch(header)
    if found is None or not int(found[1]) <= int(found[2]) < size:
        raise StorageError("InvalidRange", s3_status=400)
    return int(found[1]), int(found[2]) + 1


async def _read(call: S3Call, source: StoredObject, start: int, stop: int) -> AsyncIterator[bytes]:
    try:
        content = await call.ctx.store.read(source.version or "", start, stop)
    except ContentMissingError as error:
        raise content_missing() from error
    if isinstance(content, bytes):
        yield content
        return
    async for block in content:
        yield block


async def _receive(call: S3Call, size: int | None, chunks: Chunks) -> Part:
    """The bytes, then the row."""
    number = part_number(call)
    found = await find_upload(call)
    permit = await permit_upload(call.ctx, call.scope, found.new)
    query = Query(OTHER_PARTS, (found.id.encode(), b"%d" % number))
    [others] = await call.ctx.db.run_or_refuse(None, query, read_only=True)
    left = permit.limit - int(others.rows[0][0] or 0)
    if left < (size or 0):
        raise StorageError("EntityTooLarge")
    try:
        part = await call.ctx.store.put_part(found.id, number, chunks, limit=left)
        BYTES.add(part.size, "in")
    except TooLargeError as error:
        raise StorageError("EntityTooLarge") from error
    except StoreFullError as error:
        raise StorageError("StoreFull") from error
    await _record(call, found, part, limit=permit.limit)
    return part


async def _record(call: S3Call, found: Upload, part: Part, *, limit: int) -> None:
    """Of parts with the same number, the one that came last counts. Raises StorageError NoSuchUpload, EntityTooLarge
    when other parts came in the meantime."""
    upload_id, row_id, owner_id = found.id.encode(), str(uuid4()).encode(), call.scope.owner_id
    params = (
        upload_id,
        row_id,
        b"%d" % part.size,
        b"%d" % part.number,
        f'"{part.etag}"'.encode(),
        None if owner_id is None else owner_id.encode(),
        b"%d" % limit,
    )
    locked, inserted, *_ = await call.ctx.db.run_or_refuse(
        None,
        Query(LOCK_UPLOAD, (upload_id,)),
        Query(INSERT_PART, params),
        Query(REPLACE_PART, (row_id,)),
        Query(COUNT_PROGRESS, (upload_id,)),
    )
    if not locked.rows:
        await call.ctx.store.discard_upload(found.id)
        raise StorageError("NoSuchUpload")
    if not inserted.rows:
        raise StorageError("EntityTooLarge")


def part_number(call: S3Call) -> int:
    """Raises StorageError InvalidRequest."""
    text = call.query.get("partNumber") or ""
    number = int(text) if re.fullmatch(r"[0-9]{1,5}", text) else 0
    if not 1 <= number <= MAX_PART_NUMBER:
        raise StorageError("InvalidRequest", f"partNumber must be from 1 to {MAX_PART_NUMBER}")
    return number


async def list_all(call: S3Call) -> Response:
    found = await find_upload(call)
    most = call.number("max-parts", MAX_PARTS, low=1, high=MAX_PARTS)
    marker = call.number("part-number-marker", 0, high=MAX_PART_NUMBER)
    query = Query(LIST_PARTS, (found.id.encode(), b"%d" % marker, b"%d" % (most + 1)))
    [result] = await call.ctx.db.run_or_refuse(call.scope, query, read_only=True)
    rows = [tuple((value or b"").decode() for value in row) for row in result.rows]
    is_truncated, rows = len(rows) > most, rows[:most]
    parts: list[tuple[str, Value]] = [
        ("Part", [("PartNumber", number), ("LastModified", created_at), ("ETag", etag), ("Size", size)])
        for number, created_at, etag, size in rows
    ]
    return xml_response(
        "ListPartsResult",
        [
            ("Bucket", call.bucket),
            ("Key", call.key),
            ("UploadId", found.id),
            ("PartNumberMarker", marker),
            ("NextPartNumberMarker", rows[-1][0] if is_truncated else None),
            ("MaxParts", most),
            ("IsTruncated", is_truncated),
            *parts,
        ],
    )
