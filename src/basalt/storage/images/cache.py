"""Finished images on disk, each under a hash of what it was made from, so that none is ever out of date.

An entry is written beside its place and renamed. What has not been used for longest makes room for others; every
process of Basalt that shares the folder sees to that.
"""

import asyncio
import os
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec

from basalt import observe
from basalt.storage.images.job import ENCODER, Rendered
from basalt.waiting import wait_within

SWEEP_EVERY_S: Final = 600.0
FILL: Final = 0.9  # of the space, after making room
TOUCH_AFTER_S: Final = 60.0


class Entry(msgspec.Struct, frozen=True):
    """The checksum tells an image from what a crash left of one: nothing here is synced to the disk."""

    checksum: int
    image: Rendered


ENTRIES: Final = msgspec.msgpack.Decoder(Entry)


class ImageCache:
    """Keeps nothing where `limit_bytes` is 0."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._held_bytes = 0  # as far as this process knows; another one may have added to it
        self._is_full = asyncio.Event()
        self._sweeping: asyncio.Task[None] | None = None

    async def open(self) -> None:
        if self._limit_bytes:
            await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
            self._sweeping = asyncio.create_task(self._keep_within_limit())

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeping

    async def find(self, key: str) -> Rendered | None:
        return await asyncio.to_thread(_read, self._path(key)) if self._limit_bytes else None

    async def keep(self, key: str, image: Rendered) -> None:
        """A full disk is no reason to withhold the image."""
        if len(image.data) > self._limit_bytes:
            return
        try:
            self._held_bytes += await asyncio.to_thread(_write, self._path(key), image)
        except OSError as error:
            observe.event("image_not_kept", level="warning", error=error)
        if self._held_bytes > self._limit_bytes:
            self._is_full.set()

    async def _keep_within_limit(self) -> None:
        """Until cancelled."""
        while True:
            self._is_full.clear()
            try:
                self._held_bytes = await asyncio.to_thread(make_room, self._folder, self._limit_bytes)
            except OSError as error:
                observe.event("images_not_swept", level="warning", error=error)
            await wait_within(self._is_full, SWEEP_EVERY_S)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / key


def make_room(folder: Path, limit_bytes: int) -> int:
    """Remove what was used longest ago until there is some room again. The bytes that are left."""
    files = []
    for path in folder.glob("*/*"):
        with suppress(FileNotFoundError):
            state = path.stat()
            files.append((state.st_mtime, state.st_size, path))
    held = sum(size for _, size, _ in files)
    if held <= limit_bytes:
        return held
    for _, size, path in sorted(files):
        if held <= limit_bytes * FILL:
            break
        path.unlink(missing_ok=True)
        held -= size
    return held


def _read(path: Path) -> Rendered | None:
    try:
        entry = ENTRIES.decode(path.read_bytes())
        if entry.checksum != zlib.crc32(entry.image.data):
            return None
        if path.stat().st_mtime < time.time() - TOUCH_AFTER_S:
            os.utime(path)  # used just now
    except (OSError, msgspec.DecodeError):
        return None
    return entry.image


def _write(path: Path, image: Rendered) -> int:
    data = ENCODER.encode(Entry(zlib.crc32(image.data), image))
    path.parent.mkdir(mode=0o700, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{uuid4().hex}")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    return len(data)
