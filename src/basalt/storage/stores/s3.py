"""The back end in an S3-compatible store.

`PREFIXobjects/VERSION` are finished bytes, `PREFIXuploads/UPLOAD/NUMBER.SIZE.MD5` the parts of uploads,
`PREFIXincoming/…` large parts until their MD5 is known. The store shows an object only when it is whole. What is
larger than a piece passes through as an upload of pieces, so that memory does not grow with it.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

import obstore

from basalt.config import ObjectStoreSettings
from basalt.storage.stores.blocks import join_blocks
from basalt.storage.stores.keys import check_key, etag_of_parts, is_key, name_of_part, sort_parts
from basalt.storage.stores.s3_client import build_client, check_reachable, failing_as, failing_to_find
from basalt.storage.stores.s3_pieces import PIECE_BYTES, Arriving, put_arriving, stream_range
from basalt.storage.stores.store import Chunks, Content, ContentMissingError, Part, Stored

BATCH: Final = 1000  # keys of one request

MOST_COPIED_BYTES: Final = 5 * 1024**3  # `CopyObject` takes no more


@dataclass(frozen=True, slots=True)
class Found:
    """A key of a list and when it was written."""

    key: str
    size: int
    changed_at: datetime

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def folder(self) -> str:
        return self.key.split("/")[-2]


class S3Store:
    """One per process. `most_copied_bytes` is the largest object that the store copies in one request; a larger one
    passes through here."""

    def __init__(self, settings: ObjectStoreSettings, *, most_copied_bytes: int = MOST_COPIED_BYTES) -> None:
        self._settings = settings
        self._client = build_client(settings)
        self._patient = build_client(settings, timeout_s=900)  # the store itself copies in one request
        self._most_copied_bytes = most_copied_bytes

    async def open(self) -> None:
        """Raises BasaltError object_store_unusable."""
        await check_reachable(self._client, self._settings, self._key("objects"))

    async def close(self) -> None:
        """Nothing to let go of: obstore ends its connections by itself."""

    async def put(self, version: str, chunks: Chunks, *, limit: int) -> Content:
        key = self._object(version)
        async with aclosing(join_blocks(chunks, limit=limit)) as blocks:
            arriving = Arriving(blocks)
            await put_arriving(self._client, key, arriving, await arriving.take(PIECE_BYTES), limit=limit)
        return Content(version, arriving.size, arriving.md5)

    async def read(self, version: str, start: int, stop: int) -> bytes | Chunks:
        key = self._object(version)
        if start == stop:
            await self._size_of(key)
            return b""
        stream = stream_range(self._client, key, start, stop)
        first = await anext(stream)
        return first if len(first) == stop - start else _with_first(first, stream)

    async def size(self, version: str) -> int:
        return await self._size_of(self._object(version))

    async def copy(self, version: str, target: str) -> None:
        await self._copy(self._object(version), self._object(target))

    async def delete(self, versions: Sequence[str]) -> None:
        await self._delete([self._object(version) for version in versions if is_key(version)])

    async def list_older(self, age_s: float) -> AsyncIterator[list[Stored]]:
        before = datetime.now(UTC) - timedelta(seconds=age_s)
        async for page in self._list("objects"):
            yield [
                Stored(meta.name, meta.size)
                for meta in page
                if is_key(meta.name) and meta.changed_at < before
            ]

    async def list_uploads(self, age_s: float) -> AsyncIterator[list[str]]:
        """Keys come in order, so that the parts of an upload follow each other."""
        before = datetime.now(UTC) - timedelta(seconds=age_s)
        current, is_idle = "", False
        async for page in self._list("uploads"):
            idle = []
            for meta in page:
                if meta.folder != current:
                    idle += [current] * is_idle
                    current, is_idle = meta.folder, is_key(meta.folder)
                is_idle = is_idle and meta.changed_at < before
            if idle:
                yield idle
        if is_idle:
            yield [current]

    async def discard_unfinished(self, age_s: float) -> None:
        before = datetime.now(UTC) - timedelta(seconds=age_s)
        async for page in self._list("incoming"):
            await self._delete([meta.key for meta in page if meta.changed_at < before])

    async def put_part(self, upload_id: str, number: int, chunks: Chunks, *, limit: int) -> Part:
        folder = self._upload(upload_id)
        async with aclosing(join_blocks(chunks, limit=limit)) as blocks:
            arriving = Arriving(blocks)
            head = await arriving.take(PIECE_BYTES)
            if arriving.is_over:
                part = arriving.as_part(number)
                await put_arriving(
                    self._client, f"{folder}/{name_of_part(part)}", arriving, head, limit=limit
                )
                return part
            incoming = self._key(f"incoming/{uuid4()}")
            await put_arriving(self._client, incoming, arriving, head, limit=limit)
        part = arriving.as_part(number)
        try:
            await self._copy(incoming, f"{folder}/{name_of_part(part)}")
        finally:
            await self._delete([incoming])
        return part

    async def list_parts(self, upload_id: str) -> list[Part]:
        self._upload(upload_id)
        return sort_parts([meta.name async for page in self._list(f"uploads/{upload_id}") for meta in page])

    async def assemble(self, upload_id: str, parts: Sequence[Part], version: str) -> Content:
        folder, target = self._upload(upload_id), self._object(version)
        keys = [f"{folder}/{name_of_part(part)}" for part in parts]
        if len(parts) == 1:
            await self._copy(keys[0], target)
            return Content(version, parts[0].size, parts[0].etag)
        size = sum(part.size for part in parts)
        async with aclosing(self._stream_parts(keys, parts)) as chunks:
            await self._put_again(target, chunks, size=size)
        return Content(version, size, etag_of_parts(parts))

    async def discard_upload(self, upload_id: str) -> None:
        self._upload(upload_id)
        async for page in self._list(f"uploads/{upload_id}"):
            await self._delete([meta.key for meta in page])

    async def local_file(self, version: str) -> Path | None:
        return None

    async def presign(self, version: str, *, expires_s: float) -> str | None:
        with failing_as():
            return await obstore.sign_async(
                self._client, "GET", self._object(version), timedelta(seconds=expires_s)
            )

    async def _copy(self, source: str, target: str) -> None:
        """Inside the store, or through here when it is too large for that. Raises ContentMissingError."""
        size = await self._size_of(source)
        if size <= self._most_copied_bytes:
            with failing_to_find(source):
                await obstore.copy_async(self._patient, source, target)
        else:
            async with aclosing(stream_range(self._client, source, 0, size)) as chunks:
                await self._put_again(target, chunks, size=size)

    async def _put_again(self, key: str, chunks: Chunks, *, size: int) -> None:
        """Bytes of the store under another key. Raises ContentMissingError when they were not as many as they should
        be."""
        async with aclosing(join_blocks(chunks, limit=size)) as blocks:
            arriving = Arriving(blocks)
            await put_arriving(self._client, key, arriving, await arriving.take(PIECE_BYTES), limit=size)
        if arriving.size != size:
            await self._delete([key])
            raise ContentMissingError(key)

    async def _stream_parts(self, keys: Sequence[str], parts: Sequence[Part]) -> AsyncGenerator[bytes, None]:
        for key, part in zip(keys, parts, strict=True):
            if await self._size_of(key) != part.size:
                raise ContentMissingError(key)
            async with aclosing(stream_range(self._client, key, 0, part.size)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _size_of(self, key: str) -> int:
        """Raises ContentMissingError."""
        with failing_to_find(key):
            return (await obstore.head_async(self._client, key))["size"]

    async def _delete(self, keys: Sequence[str]) -> None:
        if keys:
            with failing_as():
                await obstore.delete_async(self._client, keys)

    async def _list(self, folder: str) -> AsyncIterator[list[Found]]:
        with failing_as():
            async for page in obstore.list(self._client, self._key(folder), chunk_size=BATCH):
                yield [Found(meta["path"], meta["size"], meta["last_modified"]) for meta in page]

    def _object(self, version: str) -> str:
        return self._key(f"objects/{check_key(version)}")

    def _upload(self, upload_id: str) -> str:
        return self._key(f"uploads/{check_key(upload_id)}")

    def _key(self, name: str) -> str:
        return self._settings.prefix + name


async def _with_first(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        yield first
        async for block in rest:
            yield block
