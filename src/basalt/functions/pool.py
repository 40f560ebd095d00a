"""Which process serves a call: one per function, made on demand, replaced when its files change, it grows too
large, or it dies."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from basalt import observe
from basalt.config import FunctionSettings
from basalt.functions.errors import FunctionError
from basalt.functions.frames import Answer, Call, Failure
from basalt.functions.process import Process, Zygote
from basalt.functions.worker import WorkerConfig

IDLE_S = 300.0
SWEEP_S = 5.0
RESCAN_S = 0.5
MAX_WAITING = 1000


@dataclass
class _Slot:
    """A function's process, and the calls that wait for a place in it."""

    places: asyncio.Semaphore
    process: Process | None = None
    signature: int = 0
    waiting: int = 0
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)


class FunctionPool:
    """`env` is what functions see as their environment; `conninfo` logs in as `authenticator`."""

    def __init__(
        self, functions_dir: Path, *, conninfo: str, env: Mapping[str, str], environ: Mapping[str, str]
    ) -> None:
        self._dir = functions_dir
        self._conninfo = conninfo
        self._env = dict(env)
        self._zygote = Zygote(environ)
        self._slots: dict[str, _Slot] = {}
        self._retired: set[Process] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._scanned_at = -RESCAN_S
        self._signature = 0

    def open(self) -> None:
        self._sweeper = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        processes = [slot.process for slot in self._slots.values() if slot.process] + list(self._retired)
        await asyncio.gather(*(process.close() for process in processes))
        await self._zygote.close()

    async def call(
        self, name: str, entrypoint: Path, settings: FunctionSettings, call: Call
    ) -> Answer | Failure:
        """Raises FunctionError BOOT_ERROR, FUNCTION_BUSY, FUNCTION_TIMEOUT, FUNCTION_CRASHED."""
        slot = self._slots.setdefault(name, _Slot(asyncio.Semaphore(settings.concurrency)))
        if slot.waiting >= MAX_WAITING:
            raise FunctionError("FUNCTION_BUSY", f"{name} has {MAX_WAITING} calls waiting", status=503)
        slot.waiting += 1
        try:
            await slot.places.acquire()
        finally:
            slot.waiting -= 1
        try:
            process = await self._process(name, entrypoint, settings, slot)
            return await process.call(call, timeout_s=settings.timeout_s)
        finally:
            slot.places.release()

    async def _process(self, name: str, entrypoint: Path, settings: FunctionSettings, slot: _Slot) -> Process:
        signature = self._scan()
        async with slot.starting:
            current = slot.process
            if current is not None and not current.is_lost and slot.signature == signature:
                return current
            if current is not None:
                self._retire(current)
            config = WorkerConfig(
                name=name,
                functions_dir=str(self._dir),
                entrypoint=str(entrypoint),
                conninfo=self._conninfo,
                env=self._env,
                memory_mb=settings.memory_mb,
                connections=min(4, settings.concurrency),
            )
            slot.process = None
            slot.process = await self._zygote.fork(config)
            slot.signature = signature
            return slot.process

    def _scan(self) -> int:
        """A number that changes with any file of any function; looked at twice a second at most."""
        now = asyncio.get_running_loop().time()
        if now - self._scanned_at >= RESCAN_S:
            self._scanned_at = now
            self._signature = hash(tuple(_file_times(self._dir)))
        return self._signature

    def _retire(self, process: Process) -> None:
        self._retired.add(process)

    async def _sweep(self) -> None:
        """End what is retired and done, too large, or idle."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now = asyncio.get_running_loop().time()
            for name, slot in self._slots.items():
                process = slot.process
                if process is None or slot.starting.locked():
                    continue
                if process.rss_mb > process.config.memory_mb:
                    observe.event("function_recycled", function=name, rss_mb=round(process.rss_mb))
                elif process.in_flight or now - process.idle_since < IDLE_S:
                    continue
                slot.process = None
                self._retire(process)
            for process in [one for one in self._retired if one.is_lost or not one.in_flight]:
                self._retired.discard(process)
                await process.close()


def _file_times(folder: Path) -> list[tuple[str, int]]:
    found = []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith((".", "__pycache__", "node_modules"))
        )
        for name in sorted(files):
            if name.endswith(".py") or name == ".env":
                path = os.path.join(root, name)
                found.append((path, os.stat(path).st_mtime_ns))
    return found
