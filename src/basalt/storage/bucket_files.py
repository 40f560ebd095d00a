"""The files below a bucket's `objects_path`, and how they become objects: the bytes, then the row, as in an upload."""

import asyncio
import mimetypes
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import orjson

from basalt.config import BucketSettings, Settings
from basalt.errors import BasaltError
from basalt.postgres import PostgresError, Query
from basalt.storage.database import StorageDatabase
from basalt.storage.errors import StorageError
from basalt.storage.media import DEFAULT, is_allowed
from basalt.storage.names import check_object_name, new_version
from basalt.storage.objects import build_metadata
from basalt.storage.stores import Store, StoreFullError, StoreUnavailableError, TooLargeError
from basalt.storage.uploads import REPLACE

AT_ONCE: Final = 8
TELL_EVERY_S: Final = 2.0
READ_BYTES: Final = 1024 * 1024
CACHE_CONTROL: Final = "max-age=3600"  # as the Supabase CLI sends it
MOST_SHOWN: Final = 5

# By the library's own table, so that the type of a file does not depend on the machine; with what that lacks.
TYPES: Final = mimetypes.MimeTypes()
NEWER_TYPES: Final = {
    ".avif": "image/avif",
    ".heic": "image/heic",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".ogg": "audio/ogg",
    ".otf": "font/otf",
    ".ttf": "font/ttf",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}


@dataclass(frozen=True, slots=True)
class BucketFile:
    """`name` is what the object is called; `size` in bytes."""

    path: Path
    name: str
    size: int

    @property
    def content_type(self) -> str:
        return guess_type(self.name)


def list_files(settings: Settings, bucket: BucketSettings) -> list[BucketFile]:
    """All files below `objects_path`, by name; none where there is no such folder."""
    if bucket.objects_path is None:
        return []
    folder = settings.supabase_dir / bucket.objects_path
    return [
        BucketFile(path, path.relative_to(folder).as_posix(), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def find_file_problems(settings: Settings, bucket: BucketSettings) -> Iterator[str]:
    """What keeps the files from becoming objects of the bucket; of many, the first ones."""
    if bucket.objects_path is None:
        return
    folder = settings.supabase_dir / bucket.objects_path
    if not folder.is_dir():
        yield f"there is no folder {folder}"
        return
    most = bucket.file_size_limit_bytes
    limit = settings.storage.file_size_limit_bytes if most is None else most
    files = list_files(settings, bucket)
    yield from islice(filter(None, (_find_problem(file, bucket, limit) for file in files)), MOST_SHOWN)


def _find_problem(file: BucketFile, bucket: BucketSettings, limit: int) -> str | None:
    try:
        check_object_name(file.name)
    except StorageError:
        return f"{file.path} cannot be the name of an object"
    if file.size > limit:
        return f"{file.path} has {file.size} bytes, the bucket takes {limit}"
    if not is_allowed(file.content_type, bucket.allowed_mime_types):
        return f"{file.path} is {file.content_type}, which the bucket does not take"
    return None


async def upload_files(
    db: StorageDatabase, store: Store, bucket_id: str, files: list[BucketFile], tell: Callable[[str], None]
) -> None:
    """A few at a time; an object of the same name is replaced. Raises BasaltError for the first that fails."""
    tell(f"Putting {len(files)} files into bucket {bucket_id}")
    waiting = iter(files)
    told_at, done = time.monotonic(), 0

    async def work() -> None:
        nonlocal told_at, done
        for file in waiting:
            await _upload(db, store, bucket_id, file)
            done += 1
            if time.monotonic() - told_at > TELL_EVERY_S:
                told_at = time.monotonic()
                tell(f"Bucket {bucket_id}: {done} of {len(files)} files")

    workers = [asyncio.create_task(work()) for _ in range(min(AT_ONCE, len(files)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _upload(db: StorageDatabase, store: Store, bucket_id: str, file: BucketFile) -> None:
    try:
        async with aclosing(_read(file.path)) as blocks:
            content = await store.put(new_version(), blocks, limit=file.size)
        metadata = build_metadata(content, content_type=file.content_type, cache_control=CACHE_CONTROL)
        params = (
            bucket_id.encode(),
            file.name.encode(),
            content.version.encode(),
            None,
            None,
            orjson.dumps(metadata),
            b"{}",
        )
        await db.run(None, Query(REPLACE, params))
    except (OSError, TooLargeError, StoreFullError, StoreUnavailableError, PostgresError) as error:
        reason = str(error) or type(error).__name__
        raise BasaltError(
            "file_not_stored", 500, f"{file.path} cannot be put into bucket {bucket_id}: {reason}"
        ) from error


async def _read(path: Path) -> AsyncGenerator[bytes, None]:
    with path.open("rb") as file:
        while block := await asyncio.to_thread(file.read, READ_BYTES):
            yield block


def guess_type(name: str) -> str:
    """
    >>> guess_type("a/photo.WebP"), guess_type("notes.txt"), guess_type("backup.tar.gz"), guess_type("README")
    ('image/webp', 'text/plain', 'application/gzip', 'application/octet-stream')
    """
    newer = NEWER_TYPES.get(Path(name).suffix.lower())
    if newer is not None:
        return newer
    media_type, encoding = TYPES.guess_type(name)
    return "application/gzip" if encoding == "gzip" else media_type or DEFAULT
