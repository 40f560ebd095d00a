"""Starts the parts of a project, watches them, restarts what dies, and stops them in order.

The start: lock → ports → keys → PostgreSQL → bootstrap → migrations, seeds and buckets → gateway and worker, which wait
for it (`children`). A lock held by the running supervisor (not a pid file, which outlives a `kill -9`) says whether a
project runs.
"""

import asyncio
import errno
import fcntl
import json
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from basalt import observe
from basalt.access import ProjectKeys, load_project_keys
from basalt.auth import check_message_settings
from basalt.children import Child
from basalt.config import Settings
from basalt.errors import BasaltError
from basalt.postgres import (
    DatabaseAccess,
    PrivateCluster,
    access_from_url,
    apply_bootstrap,
    ensure_vault_secrets,
    forget_archive,
    list_wanted_extensions,
)
from basalt.project import apply_modules, migrate
from basalt.senders import check_provider_keys
from basalt.storage import check_bucket_settings, ensure_buckets
from basalt.waiting import wait_within

READY_LIMIT_S = 30.0
PORT_LIMIT_S = 8.0  # longer than a gateway drains
WATCH_INTERVAL_S = 0.5
FIRST_BACK_OFF_S = 0.5
LONGEST_BACK_OFF_S = 10.0
STEADY_S = 30.0  # a process that ran so long starts again without back-off

RESTARTS = observe.Counter(
    "basalt_process_restarts_total", "Processes that had died and were started again.", ["name"]
)

Progress = Callable[[str], None]


class StartError(BasaltError):
    """The project cannot be started; the message is one clear sentence."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__("start_failed", 500, message, hint=hint)


@dataclass(frozen=True)
class RunningProject:
    """What a start prints and `basalt status` shows. Times are Unix seconds."""

    pid: int
    api_url: str
    studio_url: str | None
    database_url: str
    started_at: float


async def supervise(
    settings: Settings,
    children: Sequence[Child],
    *,
    on_progress: Progress,
    on_ready: Callable[[RunningProject, ProjectKeys], None],
) -> None:
    """Run the project until SIGINT or SIGTERM, with children that wait to be admitted. Raises BasaltError when it
    cannot start; whatever was started is stopped again."""
    try:
        await _supervise(settings, children, on_progress, on_ready)
    finally:
        await asyncio.gather(*(child.stop() for child in children))


async def _supervise(
    settings: Settings,
    children: Sequence[Child],
    on_progress: Progress,
    on_ready: Callable[[RunningProject, ProjectKeys], None],
) -> None:
    check_message_settings(settings)
    check_provider_keys(settings)
    check_bucket_settings(settings)
    with hold_project(settings.state_dir) as state_file, observe.Telemetry(settings):
        await check_port_free(settings.api.host, settings.api.port)
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signal_number, stopping.set)
        keys = load_project_keys(settings.state_dir, settings)
        cluster = None if settings.db.url else private_cluster(settings)
        try:
            try:
                access = await asyncio.to_thread(prepare_database, settings, cluster, on_progress)
                if stopping.is_set():
                    return
                on_progress("Starting the gateway")
                for child in children:
                    child.admit()
                await _wait_ready(children[0], settings, stopping)
                running = _describe(settings, access)
                _write_state(state_file, running)
                if not stopping.is_set():
                    on_ready(running, keys)
                async with observe.offering(settings.state_dir):
                    await _watch(children, cluster, stopping)
            finally:
                on_progress("Stopping")
                await asyncio.gather(*(child.stop() for child in children))
        finally:
            if cluster is not None:
                await asyncio.to_thread(cluster.stop)


def prepare_database(
    settings: Settings, cluster: PrivateCluster | None, on_progress: Progress
) -> DatabaseAccess:
    """A database that runs and holds the contract, the project's migrations, its seeds and its buckets. `cluster` is
    None for an external one."""
    if cluster is not None:
        on_progress("Starting PostgreSQL")
        access = cluster.ensure()
    else:
        assert settings.db.url is not None
        access = access_from_url(settings.db.url, settings.state_dir)
    on_progress("Preparing the database")
    apply_bootstrap(access)
    if cluster is not None and not (settings.basalt.backup.target and settings.basalt.backup.archive_wal):
        forget_archive(access)
    if settings.db.migrations.enabled:
        migrate(access, settings, on_progress=on_progress)
    else:
        ensure_vault_secrets(access, settings.db.vault)
        apply_modules(access, settings, on_progress=on_progress)
        ensure_buckets(settings, access, on_progress=on_progress)
    return access


def private_cluster(settings: Settings) -> PrivateCluster:
    """The project's own cluster, on an installed PostgreSQL that offers what its migrations ask for."""
    wanted = list_wanted_extensions(settings.supabase_dir)
    return PrivateCluster(settings.state_dir, port=settings.db.port, wanted_extensions=wanted)


def _describe(settings: Settings, access: DatabaseAccess) -> RunningProject:
    return RunningProject(
        pid=os.getpid(),
        api_url=settings.api_url,
        studio_url=f"{settings.api_url}/studio" if settings.studio.enabled else None,
        database_url=access.url("postgres"),
        started_at=time.time(),
    )


async def _watch(children: Sequence[Child], cluster: PrivateCluster | None, stopping: asyncio.Event) -> None:
    """Until told to stop: whoever died is started again, with a growing pause when it dies at once."""
    async with asyncio.TaskGroup() as group:
        if cluster is not None:
            RESTARTS.add(0, "postgres")  # so that an increase has something to begin from, here and below
            group.create_task(_watch_cluster(cluster, stopping))
        for child in children:
            RESTARTS.add(0, child.name)
            group.create_task(_watch_child(child, stopping))


async def _watch_cluster(cluster: PrivateCluster, stopping: asyncio.Event) -> None:
    while not await wait_within(stopping, WATCH_INTERVAL_S):
        if not await asyncio.to_thread(cluster.is_running):
            observe.event("postgres_died", level="error", log=str(cluster.log_file))
            await _restart("postgres", asyncio.to_thread(cluster.ensure))


async def _watch_child(child: Child, stopping: asyncio.Event) -> None:
    back_off_s = FIRST_BACK_OFF_S
    while not await wait_within(stopping, WATCH_INTERVAL_S):
        if child.is_alive():
            continue
        back_off_s = FIRST_BACK_OFF_S if child.age_s() > STEADY_S else min(back_off_s * 2, LONGEST_BACK_OFF_S)
        observe.event(f"{child.name}_died", level="error", exit_code=child.exit_code(), again_in_s=back_off_s)
        if await wait_within(stopping, back_off_s):
            return
        await _restart(child.name, child.start())


async def _restart(name: str, start: Any) -> None:
    try:
        await start
        RESTARTS.add(1, name)
        observe.event(f"{name}_restarted")
    except (BasaltError, OSError) as error:
        observe.event(f"{name}_restart_failed", level="error", error=error)


async def _wait_ready(gateway: Child, settings: Settings, stopping: asyncio.Event) -> None:
    """Until `/ready` answers. Raises StartError when the gateway ends first or time is up."""
    url = f"http://{settings.api.host}:{settings.api.port}/ready"
    deadline = time.monotonic() + READY_LIMIT_S
    while not stopping.is_set() and time.monotonic() < deadline:
        if not gateway.is_alive():
            raise StartError("The gateway ended while it started; its last lines say why")
        if await asyncio.to_thread(_answers, url):
            return
        await asyncio.sleep(0.05)
    if not stopping.is_set():
        raise StartError(f"The gateway did not answer within {READY_LIMIT_S:.0f} seconds")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  our own loopback address
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def hold_project(state_dir: Path) -> Iterator[IO[str]]:
    """Hold the project's lock; only one supervisor or reset works on a project. Raises StartError when
    another holds it, or when the
    folder cannot be written."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        (state_dir / "run").mkdir(exist_ok=True)
        file = (state_dir / "run" / "supervisor.json").open("a+", encoding="utf-8")
    except OSError as exc:
        raise StartError(f"{state_dir} cannot be written: {exc.strerror}") from exc
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            running = find_running(state_dir)
            who = f" (process {running.pid}, {running.api_url})" if running else ""
            raise StartError(f"This project is already running{who}", hint="`basalt stop` ends it") from exc
        file.truncate(0)
        try:
            yield file
        finally:
            file.truncate(0)


def find_running(state_dir: Path) -> RunningProject | None:
    """What a running supervisor wrote about itself; None when none holds the lock. A file left by a killed
    one counts for nothing."""
    try:
        with (state_dir / "run" / "supervisor.json").open("r+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return RunningProject(**json.loads(file.read() or "null"))
    except (OSError, TypeError, ValueError):
        return None
    return None


def _write_state(file: IO[str], running: RunningProject) -> None:
    file.seek(0)
    file.truncate(0)
    json.dump(vars(running), file)
    file.flush()


async def check_port_free(host: str, port: int) -> None:
    """Raises StartError when something else listens there, or the address is not ours. A gateway whose
    supervisor was killed is given the time to end its open requests."""
    deadline = time.monotonic() + PORT_LIMIT_S
    while (problem := _bind_problem(host, port)) is not None:
        if problem.errno != errno.EADDRINUSE:
            raise StartError(
                f"The gateway cannot listen on {host}:{port}: {problem.strerror or problem}"
            ) from problem
        if time.monotonic() > deadline or not await asyncio.to_thread(
            _answers, f"http://{host}:{port}/health"
        ):
            raise StartError(
                f"Port {port} on {host} is in use by another program",
                hint="Stop it, or set api.port in supabase/config.toml (or SUPABASE_API_PORT)",
            ) from problem
        await asyncio.sleep(0.2)


def _bind_problem(host: str, port: int) -> OSError | None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as problem:
        return problem
    return None
