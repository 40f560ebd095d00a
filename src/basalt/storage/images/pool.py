"""The processes that work on images: as many as the settings say, one image each, and a bounded queue before them.

A process that dies, takes too long or has done its share is replaced; only its own image is touched by that.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from basalt import observe
from basalt.config import ImageSettings
from basalt.storage.errors import StorageError
from basalt.storage.images.job import (
    LENGTH,
    MAX_FRAME_BYTES,
    OUTCOMES,
    Job,
    Outcome,
    Reason,
    Refused,
    build_frame,
)

WAITING_PER_PROCESS: Final = 16
JOBS_PER_PROCESS: Final = 500  # libraries in C leak a little
PIPE_BYTES: Final = 1024 * 1024
FOLDER: Final = Path(__file__).parent

# `python -m basalt.storage.images.worker` would load all of Storage with the packages around that module: 1.3 s and
# 61 MB before the first image instead of 0.2 s and 26 MB. So the packages are there in name only.
BOOT: Final = """
import sys, types
for depth, name in enumerate(("basalt.storage.images", "basalt.storage", "basalt")):
    package = types.ModuleType(name)
    package.__path__ = [sys.argv[1 + depth]]
    sys.modules[name] = package
del sys.argv[1:4]
from basalt.storage.images.worker import main
main()
"""
FOLDERS: Final = tuple(str(folder) for folder in (FOLDER, *FOLDER.parents[:2]))

# Nothing of the gateway's environment, which has its secrets, reaches a process that reads hostile bytes.
KEPT: Final = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
ENVIRONMENT: Final = {
    "VIPS_CONCURRENCY": "1",
    "VIPS_BLOCK_UNTRUSTED": "1",
    "VIPS_DISC_THRESHOLD": "999g",  # never to a temporary file: the bound on memory is there for that
    "MALLOC_ARENA_MAX": "2",
}

# Died of what it worked on. (SIGKILL is the kernel's when memory is short, or an operator's.)
CRASHES: Final = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP)


class ProcessDiedError(Exception):
    """In the middle of a job, or before it."""

    def __init__(self, returncode: int) -> None:
        super().__init__(f"exit code {returncode}")
        self.returncode = returncode


class WorkerPool:
    """Starts no process before the first job."""

    def __init__(self, settings: ImageSettings) -> None:
        self._settings = settings
        self._turns = asyncio.Semaphore(settings.processes)
        self._waiting = 0
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in (*self._busy, *self._idle)]

    async def run(self, job: Job) -> Outcome:
        """Raises StorageError SlowDown when too many wait already or nobody has had time, InvalidRequest with status
        408 when the image takes too long."""
        async with self._turn():
            try:
                return await self._run_once(job, is_fresh=False)
            except ProcessDiedError:
                # Perhaps it was dead before. If a new one dies of it too, then it is the image.
                try:
                    return await self._run_once(job, is_fresh=True)
                except ProcessDiedError as error:
                    reason: Reason = "invalid" if -error.returncode in CRASHES else "failed"
                    return Refused(reason, f"the process died: {error}")

    async def close(self) -> None:
        for worker in (*self._busy, *self._idle):
            await worker.end()
        self._idle.clear()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._turns.locked() and self._waiting >= WAITING_PER_PROCESS * self._settings.processes:
            raise _slow_down()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await self._turns.acquire()
        except TimeoutError as error:
            raise _slow_down() from error
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()

    async def _run_once(self, job: Job, *, is_fresh: bool) -> Outcome:
        worker = self._idle.pop() if self._idle and not is_fresh else await start_worker(self._settings)
        self._busy.add(worker)
        is_good = False
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                outcome = await worker.run(job)
            is_good = worker.jobs < JOBS_PER_PROCESS
        except TimeoutError as error:
            observe.event("image_timed_out", level="warning", seconds=self._settings.timeout_s)
            raise StorageError("InvalidRequest", "Image request timed out", status=408) from error
        finally:
            self._busy.discard(worker)
            if is_good:
                self._idle.append(worker)
            else:
                await worker.end()
        return outcome


class _Worker:
    """One process, one job at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid
        self.jobs = 0

    async def run(self, job: Job) -> Outcome:
        """Raises ProcessDiedError."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        self.jobs += 1
        try:
            stdin.write(build_frame(job))
            await stdin.drain()
            [length] = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
            if length > MAX_FRAME_BYTES:
                return Refused("failed", "the answer is too long")
            outcome: Outcome = OUTCOMES.decode(await stdout.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise ProcessDiedError(await self._process.wait()) from error
        return outcome

    async def end(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        # Reads what is left in the pipes, so that they close.
        await self._process.communicate()


async def start_worker(settings: ImageSettings) -> _Worker:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-c",
        BOOT,
        *FOLDERS,
        settings.engine,
        str(settings.memory_mb),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=PIPE_BYTES,
        env={**{name: os.environ[name] for name in KEPT if name in os.environ}, **ENVIRONMENT},
        start_new_session=True,  # Ctrl-C in a terminal is for the supervisor, which ends everything in order
    )
    return _Worker(process)


def _slow_down() -> StorageError:
    return StorageError("SlowDown", headers=(("retry-after", "1"),))
