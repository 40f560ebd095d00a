"""From a source and a plan to a finished image: out of the cache, from whoever is making the same one already, or from
a process that makes it now.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final, Literal

from basalt import observe
from basalt.config import ImageSettings
from basalt.storage.errors import StorageError, content_missing
from basalt.storage.images.cache import ImageCache
from basalt.storage.images.job import ENCODER, Job, PassedThrough, Reason, Refused, Rendered
from basalt.storage.images.plan import Plan
from basalt.storage.images.pool import WorkerPool

RECIPE: Final = "1"  # raised when the same plan gives another image
# imgproxy's reasons in the words of Supabase Storage, `renderer/image.ts`.
REFUSALS: Final[dict[Reason, str]] = {
    "invalid": "The source image is invalid or unsupported for rendering",
    "pixels": "The source image resolution is too large to process",
    "bytes": "The source image file is too large to process",
}

Target = Literal["avif", "webp"]
Fetch = Callable[[], Awaitable[Path | bytes]]


class Renderer:
    """`folder` holds finished images, as many as `cache_bytes` allows. `jobs` counts the images that processes were
    asked for."""

    def __init__(self, settings: ImageSettings, folder: Path) -> None:
        self._settings = settings
        self._cache = ImageCache(folder, settings.cache_bytes)
        self._pool = WorkerPool(settings)
        self._under_way: dict[str, asyncio.Task[Rendered | PassedThrough]] = {}
        self.jobs = 0

    @property
    def pids(self) -> list[int]:
        """Of the processes that there are just now."""
        return self._pool.pids

    async def open(self) -> None:
        """Get the folder ready. Processes start with the first image."""
        await self._cache.open()

    async def close(self) -> None:
        """End the processes."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._pool.close()
        await self._cache.close()

    async def render(
        self, version: str, size: int, plan: Plan, target: Target | None, fetch: Fetch
    ) -> Rendered | PassedThrough:
        """`fetch` gives the file, or the bytes, of the `version`, which has `size` bytes; it is asked only where there
        is work to do. Raises StorageError InvalidRequest, NoSuchKey, SlowDown, InternalError."""
        if size > self._settings.max_source_bytes:
            raise refuse(Refused("bytes"))
        key = build_key(version, plan, target)
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(self._find_or_make(key, plan, target, fetch))
            self._under_way[key] = task
            task.add_done_callback(partial(self._forget, key))
        return await asyncio.shield(task)  # whoever goes away leaves the others their image

    def _forget(self, key: str, task: "asyncio.Task[Rendered | PassedThrough]") -> None:
        """With its error, which nobody may have waited for."""
        del self._under_way[key]
        if not task.cancelled():
            task.exception()

    async def _find_or_make(
        self, key: str, plan: Plan, target: Target | None, fetch: Fetch
    ) -> Rendered | PassedThrough:
        found = await self._cache.find(key)
        if found is not None:
            return found
        outcome = await self._make(plan, target, await fetch())
        if isinstance(outcome, Rendered):
            await self._cache.keep(key, outcome)
        return outcome

    async def _make(
        self, plan: Plan, target: Target | None, source: Path | bytes
    ) -> Rendered | PassedThrough:
        self.jobs += 1
        job = Job(
            path=None if isinstance(source, bytes) else str(source),
            data=source if isinstance(source, bytes) else b"",
            plan=plan,
            target=target,
            max_pixels=self._settings.max_pixels,
            max_bytes=self._settings.max_source_bytes,
            timeout_s=self._settings.timeout_s,
        )
        outcome = await self._pool.run(job)
        if isinstance(outcome, Refused):
            raise refuse(outcome)
        return outcome


def build_key(version: str, plan: Plan, target: Target | None) -> str:
    """Names a result: the same bytes, the same plan, the same format.

    >>> build_key("v", Plan(width=1), None) == build_key("v", Plan(width=1, format="origin"), None)
    False
    >>> len(build_key("v", Plan(), "webp"))
    64
    """
    return hashlib.sha256(ENCODER.encode((RECIPE, version, plan, target))).hexdigest()


def refuse(refused: Refused) -> StorageError:
    if refused.reason == "missing":
        return content_missing()
    if refused.reason == "failed":
        observe.event("image_failed", level="error", detail=refused.detail)
        return StorageError("InternalError")
    observe.event("image_refused", level="debug", reason=refused.reason, detail=refused.detail)
    return StorageError("InvalidRequest", REFUSALS[refused.reason])
