"""The worker: jobs, schedules and outgoing requests, side by side until told to stop; with a port, functions too.

`python -m basalt.worker DIR`, as the supervisor starts it, `basalt worker DIR` on a machine of its own, or inside the
gateway (`basalt.worker.mode`). Any number of them share one database, and nothing in the memory of one is needed
after it dies.
"""

import argparse
import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from basalt import gateway, notify, observe, project
from basalt.access import load_project_keys
from basalt.collector import spare_the_collector
from basalt.config import Settings, load_settings
from basalt.functions import JobPerformer
from basalt.jobs import CronScheduler, Handlers, JobEngine, MessageJobs, Part, RequestSender, TrackJobs
from basalt.kv import ExpiryPurger
from basalt.late import LateModule
from basalt.postgres import DatabaseAccess, access_from_url, load_access
from basalt.waiting import wait_within

if TYPE_CHECKING:
    from basalt.project import backup as backups
else:
    backups = LateModule("basalt.project.backup")

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
STEADY_S = 30.0


@dataclass(frozen=True)
class Serving:
    """A `Part` that answers HTTP."""

    name: str
    serve: Callable[[asyncio.Event], Awaitable[None]]

    async def run(self, stopping: asyncio.Event) -> None:
        await self.serve(stopping)


def serve_worker(project_dir: Path, *, exit_with_stdin: bool = False, with_gateway: bool = False) -> None:
    """Work until SIGTERM or SIGINT; with `exit_with_stdin` from the first byte of standard input, by which the
    supervisor says that the database is ready, until its end. `with_gateway` makes it the project's gateway too."""
    if exit_with_stdin and not os.read(0, 1):
        return
    settings = load_settings(project_dir, os.environ)
    observe.configure(
        process="worker", level=settings.basalt.log_level, log_format=settings.basalt.log_format
    )
    access = (
        access_from_url(settings.db.url, settings.state_dir)
        if settings.db.url
        else load_access(settings.state_dir)
    )
    with (
        observe.Telemetry(settings),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_serve(settings, access, exit_with_stdin=exit_with_stdin, with_gateway=with_gateway))


async def _serve(
    settings: Settings, access: DatabaseAccess, *, exit_with_stdin: bool, with_gateway: bool
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    if exit_with_stdin:
        threading.Thread(target=_stop_at_end_of_stdin, args=[loop, stopping], daemon=True).start()
    await run_worker(settings, access, stopping, with_gateway=with_gateway)


async def run_worker(
    settings: Settings, access: DatabaseAccess, stopping: asyncio.Event, *, with_gateway: bool = False
) -> None:
    """Everything a worker does, until `stopping` is set and what is in hand has ended, or the time for that is up."""
    async with AsyncExitStack() as stack:
        if settings.basalt.telemetry.metrics.enabled:
            await stack.enter_async_context(observe.offering(settings.state_dir))
        ways: notify.Ways = {}
        parts = [
            *_serving(settings, access, with_gateway=with_gateway),
            JobEngine(settings, access, await _open_handlers(settings, access, ways, stack)),
            *([CronScheduler(settings, access)] if settings.basalt.cron.enabled else []),
            RequestSender(settings, access),
            ExpiryPurger(settings, access),
            *([notify.Dispatcher(settings, access, ways)] if settings.notify.enabled else []),
            *([project.AlertWatch(settings, access)] if settings.basalt.alerts.enabled else []),
            *_backing_up(settings, access),
        ]
        spare_the_collector()
        observe.event("worker_started")
        tasks = [asyncio.create_task(_keep_running(part, stopping)) for part in parts]
        await stopping.wait()
        _, late = await asyncio.wait(tasks, timeout=settings.basalt.worker.drain_timeout_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    observe.event("worker_stopped", late=len(late))


def _serving(settings: Settings, access: DatabaseAccess, *, with_gateway: bool) -> list[Part]:
    """What most workers do not do: the gateway's front loads its modules only when it is asked for them."""
    parts: list[Part] = []
    if with_gateway:
        parts.append(Serving("gateway", partial(gateway.serve_project, settings, access)))
    if settings.basalt.worker.port and settings.edge_runtime.enabled:
        parts.append(Serving("functions", partial(gateway.serve_functions, settings, access)))
    metrics = settings.basalt.telemetry.metrics
    if metrics.enabled and metrics.port and not with_gateway:
        parts.append(Serving("metrics", partial(gateway.serve_metrics, settings, access)))
    return parts


def _backing_up(settings: Settings, access: DatabaseAccess) -> list[Part]:
    """What sends the log and makes backups, where there is a place for them."""
    backup = settings.basalt.backup
    parts: list[Part] = []
    if backup.target and backup.archive_wal and not access.is_external:
        parts.append(backups.WalArchiver(settings, access))
    if backup.target and backup.schedule:
        parts.append(backups.BackupScheduler(settings, access))
    return parts


async def _open_handlers(
    settings: Settings, access: DatabaseAccess, ways: notify.Ways, stack: AsyncExitStack
) -> Handlers:
    """Who performs jobs; closed with `stack`."""
    messages = MessageJobs(settings, access)
    stack.push_async_callback(messages.close)
    await messages.open()
    tracking = TrackJobs(settings)
    stack.push_async_callback(tracking.close)
    own = {**messages.handlers, **tracking.handlers}
    if settings.notify.enabled:
        notifications = notify.NotifyJobs(settings, access, ways)
        stack.push_async_callback(notifications.close)
        await notifications.open()
        own |= notifications.handlers
    if settings.basalt.retention:
        own |= project.RetentionJobs(settings, access).handlers
    if not settings.edge_runtime.enabled:
        return Handlers(own=own)
    functions = JobPerformer(settings, access, load_project_keys(settings.state_dir, settings))
    stack.push_async_callback(functions.close)
    await functions.open()
    return Handlers(own=own, functions=functions.perform)


async def _keep_running(part: Part, stopping: asyncio.Event) -> None:
    """A part that fails starts again, after a pause that grows while it fails at once."""
    pause_s = FIRST_PAUSE_S
    loop = asyncio.get_running_loop()
    while not stopping.is_set():
        started = loop.time()
        try:
            await part.run(stopping)
        except Exception as error:
            pause_s = FIRST_PAUSE_S if loop.time() - started > STEADY_S else min(pause_s * 2, LONGEST_PAUSE_S)
            observe.event(
                "worker_part_failed", level="error", part=part.name, again_in_s=pause_s, error=error
            )
            await wait_within(stopping, pause_s)


def _stop_at_end_of_stdin(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    while os.read(0, 1024):
        pass
    loop.call_soon_threadsafe(stopping.set)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="basalt.worker", description="Run a project's jobs.")
    parser.add_argument("directory", type=Path, help="the project's folder")
    parser.add_argument("--exit-with-stdin", action="store_true", help="stop when standard input ends")
    parser.add_argument("--with-gateway", action="store_true", help="serve the API too")
    arguments = parser.parse_args()
    serve_worker(
        arguments.directory,
        exit_with_stdin=arguments.exit_with_stdin,
        with_gateway=arguments.with_gateway,
    )
