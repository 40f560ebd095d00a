"""The processes of a project that answer requests and do its work: gateway and worker, as the supervisor starts them.

They are launched before anything else is imported here, so that they have imported what they are made of when the
database is ready. The standard input of each ends with us, so no child outlives us.
"""

import asyncio
import sys
import time

from basalt import observe
from basalt.config import Settings


async def launch_children(settings: Settings) -> "list[Child]":
    """What answers requests first: the gateway, and the worker where it is a process of its own."""
    worker = settings.basalt.worker
    gateway_s, worker_s = settings.basalt.drain_timeout_s + 5, worker.drain_timeout_s + 5
    match worker.mode:
        case "gateway":
            children = [Child("worker", settings, max(gateway_s, worker_s), "--with-gateway")]
        case "process":
            children = [Child("gateway", settings, gateway_s), Child("worker", settings, worker_s)]
        case "off":
            children = [Child("gateway", settings, gateway_s)]
    for child in children:
        await child.launch()
    return children


class Child:
    """The process of `basalt.NAME`. A pipe as its standard input admits it to the database, by a line, and ends when
    we die, however we die."""

    def __init__(self, name: str, settings: Settings, stop_limit_s: float, *options: str) -> None:
        self.name = name
        self._command = [
            sys.executable,
            "-P",  # whatever lies in the folder where we were started is not Basalt's
            "-m",
            f"basalt.{name}",
            str(settings.project_dir),
            "--exit-with-stdin",
            *options,
        ]
        self._stop_limit_s = stop_limit_s
        self._process: asyncio.subprocess.Process | None = None
        self._started_at = 0.0

    async def start(self) -> None:
        await self.launch()
        self.admit()

    async def launch(self) -> None:
        """It imports what it is made of, and waits."""
        self._started_at = time.monotonic()
        # A session of its own: Ctrl-C in the terminal is for the supervisor, which stops the others in order.
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.PIPE, start_new_session=True
        )

    def admit(self) -> None:
        """The database is ready. A process that has died meanwhile is found by whoever watches it."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    def is_alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def exit_code(self) -> int | None:
        return self._process.returncode if self._process else None

    def age_s(self) -> float:
        return time.monotonic() - self._started_at

    async def stop(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(self._stop_limit_s):
                await self._process.wait()
        except TimeoutError:
            observe.event(f"{self.name}_killed", level="warning", after_s=self._stop_limit_s)
            self._process.kill()
            await self._process.wait()
