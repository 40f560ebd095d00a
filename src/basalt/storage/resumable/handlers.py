"""What the methods of TUS do (tus.io/protocols/resumable-upload, "Core Protocol", "Creation", "Termination").

Whoever asks for an upload must be the one that made it, and must still be allowed to upload there.
"""

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from basalt.http import ClientDisconnectedError, Headers, Response
from basalt.storage.database import Scope
from basalt.storage.downloads import http_date
from basalt.storage.errors import StorageError
from basalt.storage.resumable.inflow import End
from basalt.storage.resumable.leases import Lease
from basalt.storage.resumable.location import build_location
from basalt.storage.resumable.metadata import describe
from basalt.storage.resumable.parts import size_of
from basalt.storage.resumable.receiving import discard, finish, load_parts, receive
from basalt.storage.resumable.rows import ResumableUpload, insert_upload
from basalt.storage.resumable.visits import Visit
from basalt.storage.uploads import NewObject, Permit, permit_upload

CONTENT_TYPE: Final = "application/offset+octet-stream"
NUMBER: Final = re.compile(r"[0-9]{1,18}")
CLOSE: Final = (("connection", "close"),)  # the rest of a body that nobody reads

Raw = tuple[bytes, bytes]


async def create(visit: Visit) -> Response:
    """`POST`; with a body the first bytes come along ("Creation With Upload")."""
    headers = visit.request.headers
    scope, new = _planned(visit)
    permit = await permit_upload(visit.ctx, scope, new)
    upload = await insert_upload(
        visit.ctx.db,
        scope,
        new,
        metadata=headers.get("upload-metadata") or "",
        is_signed=visit.is_signed,
        expiry_s=visit.ctx.settings.resumable_expiry_s,
    )
    location = build_location(headers, visit.ctx.url, visit.path_of(upload.id))
    has_body = headers.get("content-type") == CONTENT_TYPE and headers.get("content-length") != "0"
    if has_body or new.size == 0:
        progress = await _fill(visit, upload, scope, permit)
    else:
        progress = [_expires(upload.expires_at)]
    return Response(201, [(b"location", location.encode()), *progress])


def _planned(visit: Visit) -> tuple[Scope, NewObject]:
    """What the headers of a creation ask for. Raises StorageError."""
    headers = visit.request.headers
    if "upload-concat" in headers:
        raise StorageError("NotSupported", "The concatenation extension is not offered")
    description = describe(headers.get("upload-metadata"))
    length = _announced_length(headers)
    scope, upsert = visit.identify("storage.tus.upload.create", description.bucket_id, description.name)
    return scope, description.new_object(size=length, upsert=upsert)


async def _fill(visit: Visit, upload: ResumableUpload, scope: Scope, permit: Permit) -> list[Raw]:
    """The body of a creation. Unless it arrives whole nobody learns of the upload, so nothing may stay of it."""
    async with visit.leases.hold(upload.id) as lease:
        try:
            end, progress = await _append(visit, lease, scope, permit)
            _check_end(end)
        except BaseException:
            await discard(visit.ctx, lease)
            raise
    return progress


async def append(visit: Visit, upload_id: str) -> Response:
    """`PATCH`. What arrives before it breaks off is kept."""
    headers = visit.request.headers
    if headers.get("content-type") != CONTENT_TYPE:
        raise StorageError("InvalidRequest", "Invalid content-type")
    offset = _number(headers, "upload-offset")
    if offset is None:
        raise StorageError("InvalidRequest", "Upload-Offset header required")
    upload, scope, new = await visit.find_own("storage.tus.upload.part", upload_id)
    length = _settled_length(headers, upload.length)
    permit = await permit_upload(visit.ctx, scope, replace(new, size=length))
    async with visit.leases.hold(upload_id) as lease:
        if lease.upload.is_finished or lease.upload.length != upload.length:  # by somebody else, just now
            raise StorageError("UploadOffsetConflict")
        end, progress = await _append(visit, lease, scope, permit, offset=offset)
    if (b"tus-complete", b"1") not in progress:
        _check_end(end)
    return Response(204, progress)


async def _append(
    visit: Visit, lease: Lease, scope: Scope, permit: Permit, *, offset: int = 0
) -> tuple[End, list[Raw]]:
    """Why the body ended, and how far the upload is now. With the last byte the object is made, even for a client
    that has left."""
    parts = await load_parts(visit.ctx, lease)
    if size_of(parts) != offset:
        raise StorageError("UploadOffsetConflict")
    length = permit.new.size
    if length is not None and length < offset:
        raise StorageError("EntityTooLarge")
    if length is not None and lease.upload.length is None:
        await lease.declare_length(length)
    limit = permit.limit if length is None else length
    end = await receive(visit.ctx, lease, visit.request, parts, limit=limit - offset)
    arrived = size_of(parts)
    progress = [(b"upload-offset", b"%d" % arrived)]
    if arrived == length:
        await finish(visit.ctx, lease, scope, permit, parts)
        return end, [*progress, (b"tus-complete", b"1")]
    return end, [*progress, _expires(lease.expires_at)]


def _check_end(end: End) -> None:
    """Raises for a body that broke off."""
    match end:
        case "complete":
            return
        case "gone":
            raise ClientDisconnectedError
        case "quiet":
            raise StorageError("UploadStalled", headers=CLOSE)
        case "stopped":
            raise StorageError("UploadTakenOver", headers=CLOSE)


async def report_progress(visit: Visit, upload_id: str) -> Response:
    """`HEAD`. Clients take an offset at the end for success, so an upload whose last request died between its last
    byte and its object gets the object now. The policies are asked what they are asked of a part: those that name
    the operations of an upload seldom name `storage.tus.upload.get`, which the original does not ask them."""
    _, scope, new = await visit.find_own("storage.tus.upload.part", upload_id)
    permit = await _permit_unless_there(visit, scope, new)
    async with visit.leases.hold(upload_id) as lease:
        upload = lease.upload
        if upload.is_finished:
            return Response(200, _describe(upload, upload.length or 0))
        parts = await load_parts(visit.ctx, lease)
        if size_of(parts) == upload.length:
            if permit is None:
                raise StorageError("KeyAlreadyExists")
            await finish(
                visit.ctx, lease, scope, replace(permit, new=replace(new, size=upload.length)), parts
            )
        return Response(200, [*_describe(upload, size_of(parts)), _expires(lease.expires_at)])


async def terminate(visit: Visit, upload_id: str) -> Response:
    """`DELETE`."""
    _, scope, new = await visit.find_own("storage.tus.upload.delete", upload_id)
    await _permit_unless_there(visit, scope, new)
    async with visit.leases.hold(upload_id) as lease:
        if lease.upload.is_finished:
            raise StorageError("UploadFinished")
        await discard(visit.ctx, lease)
    return Response(204)


async def _permit_unless_there(visit: Visit, scope: Scope, new: NewObject) -> Permit | None:
    """None where only an object that is there already forbids it: the policies have been asked before that."""
    try:
        return await permit_upload(visit.ctx, scope, new)
    except StorageError as error:
        if error.code != "KeyAlreadyExists":
            raise
        return None


def _describe(upload: ResumableUpload, offset: int) -> list[Raw]:
    length = (b"upload-defer-length", b"1")
    if upload.length is not None:
        length = (b"upload-length", b"%d" % upload.length)
    return [
        (b"upload-offset", b"%d" % offset),
        length,
        (b"upload-metadata", upload.metadata.encode("latin-1")),
        (b"cache-control", b"no-store"),
    ]


def _announced_length(headers: Headers) -> int | None:
    """Of a creation; None where it is deferred. Raises StorageError InvalidRequest."""
    length = _number(headers, "upload-length")
    deferred = headers.get("upload-defer-length")
    if deferred not in (None, "1"):
        raise StorageError("InvalidRequest", "Invalid upload-defer-length")
    if (length is None) == (deferred is None):
        raise StorageError("InvalidRequest", "Upload-Length or Upload-Defer-Length header required")
    return length


def _settled_length(headers: Headers, known: int | None) -> int | None:
    """A length that was deferred comes with some later request. Raises StorageError InvalidRequest."""
    declared = _number(headers, "upload-length")
    if known is not None and declared not in (None, known):
        raise StorageError("InvalidRequest", "Upload-Length cannot change")
    return known if declared is None else declared


def _number(headers: Headers, name: str) -> int | None:
    """Raises StorageError InvalidRequest."""
    text = headers.get(name)
    if text is None:
        return None
    if not NUMBER.fullmatch(text):
        raise StorageError("InvalidRequest", f"Invalid {name}")
    return int(text)


def _expires(at: int) -> Raw:
    return b"upload-expires", http_date(datetime.fromtimestamp(at, UTC)).encode()
