"""Bytes of a request become parts of an upload, and after the last one the object.

A part is at most `SEGMENT_BYTES` and survives a crash once it is stored, so a process that dies loses no more than
that of what it has read.
"""

from collections.abc import AsyncIterator
from typing import Final

from basalt.http import Request
from basalt.postgres import PostgresError
from basalt.storage.context import StorageContext
from basalt.storage.database import Scope
from basalt.storage.errors import StorageError
from basalt.storage.figures import BYTES
from basalt.storage.resumable.inflow import End, Inflow
from basalt.storage.resumable.leases import Lease
from basalt.storage.resumable.parts import counted, next_number
from basalt.storage.stores import Content, Part, TooLargeError
from basalt.storage.uploads import Permit, commit_upload

SEGMENT_BYTES: Final = 16 * 1024 * 1024
LEASE_LOST: Final = "22012"  # division by zero: see `leases.FINISH`


async def load_parts(ctx: StorageContext, lease: Lease) -> list[Part]:
    """What has arrived so far."""
    return counted(await ctx.store.list_parts(lease.upload.id), lease.upload.lost_parts)


async def receive(
    ctx: StorageContext, lease: Lease, request: Request, parts: list[Part], *, limit: int
) -> End:
    """Adds to `parts` what the request brings, at most `limit` bytes; why it ended. Raises StorageError
    EntityTooLarge, and then the part in which there was too much is not kept."""
    announced = request.headers.get("content-length")
    if announced is not None and int(announced) > limit:
        raise StorageError("EntityTooLarge")
    inflow = Inflow(request, limit=limit)
    lease.read(inflow)
    try:
        while await inflow.has_more():
            parts.append(await _store_part(ctx, lease, next_number(parts, lease.upload.lost_parts), inflow))
    except TooLargeError as error:
        raise StorageError("EntityTooLarge") from error
    assert inflow.end is not None
    return inflow.end


async def _store_part(ctx: StorageContext, lease: Lease, number: int, inflow: Inflow) -> Part:
    lease.is_certain = False
    segment = inflow.segment(SEGMENT_BYTES)
    part = await ctx.store.put_part(lease.upload.id, number, segment, limit=SEGMENT_BYTES)
    BYTES.add(part.size, "in")
    await lease.prolong()
    lease.is_certain = True
    return part


async def finish(ctx: StorageContext, lease: Lease, scope: Scope, permit: Permit, parts: list[Part]) -> None:
    """All bytes are there: make the object. Raises StorageError; what the hook has refused is then gone, all else can
    be tried again."""
    content = await _put_together(ctx, lease, permit, parts)
    try:
        await commit_upload(ctx, scope, permit, content, before=[lease.finish()])
    except StorageError as error:
        if error.code == "UploadRefused" and error.http_status < 500:
            await discard(ctx, lease)
        if isinstance(error.__cause__, PostgresError) and error.__cause__.sqlstate == LEASE_LOST:
            raise StorageError("ResourceLocked") from error
        raise
    await ctx.store.discard_upload(lease.upload.id)


async def _put_together(ctx: StorageContext, lease: Lease, permit: Permit, parts: list[Part]) -> Content:
    if parts:
        return await ctx.store.assemble(lease.upload.id, parts, permit.version)
    return await ctx.store.put(permit.version, _nothing(), limit=0)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def discard(ctx: StorageContext, lease: Lease) -> None:
    """The upload is no more. Without its row nobody finds the parts, should they outlive a crash here."""
    await lease.delete()
    await ctx.store.discard_upload(lease.upload.id)
