"""One scrape tells the figures of all processes of a node.

Each process offers its own on a socket in a folder of the project; whoever is asked for all of them reads every socket
there. No process is more than the others, so that several gateways on one port answer alike, and what is killed is
simply not there. A name is held by a lock, which ends with its process: `gateway`, then `gateway-2`.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import msgspec

from basalt.observe.families import Family
from basalt.observe.log import event, process_name
from basalt.observe.metrics import decode_snapshot, encode_snapshot, snapshot
from basalt.observe.process import ProcessFigures

SOCKET_PATH_LIMIT = 103  # sun_path holds 104 bytes on BSD and macOS, 108 on Linux
MOST_PROCESSES = 100
READ_LIMIT_S = 1.0
MAX_SNAPSHOT_BYTES = 16 * 1024 * 1024

_offers: dict[Path, "_Offer"] = {}


@contextlib.asynccontextmanager
async def offering(state_dir: Path) -> AsyncIterator[None]:
    """Offer this process's figures to the others of the node, under the name it has in the log. Inside of another one
    it does nothing. Where the folder cannot be had, the process tells its figures itself and nobody else does."""
    if state_dir in _offers:
        yield
        return
    figures = ProcessFigures()
    offer = _Offer(process_name())
    _offers[state_dir] = offer
    try:
        try:
            await offer.open(metrics_dir(state_dir))
        except OSError as error:
            offer.name = _lonely_name()
            event("metrics_not_shared", level="warning", reason=str(error))
        yield
    finally:
        del _offers[state_dir]
        await offer.close()
        figures.close()


async def gather(state_dir: Path) -> Mapping[str, list[Family]]:
    """The figures of each process by its name, those of this one included."""
    own = _offers.get(state_dir)
    name = own.name if own is not None else _lonely_name()
    names = [one for one in _names(state_dir) if one != name]
    answers = await asyncio.gather(*(_read(metrics_dir(state_dir) / f"{one}.sock") for one in names))
    found = {one: families for one, families in zip(names, answers, strict=True) if families is not None}
    return {name: snapshot(), **found}


async def list_processes(state_dir: Path) -> list[str]:
    """Which processes of the node are there."""
    return sorted(await gather(state_dir))


def metrics_dir(state_dir: Path) -> Path:
    """Where the sockets are; in a short place when the project's path is too long for a socket."""
    folder = state_dir / "run" / "metrics"
    if len(os.fsencode(folder / "supervisor-100.sock")) > SOCKET_PATH_LIMIT:
        digest = hashlib.sha256(str(state_dir).encode()).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"basalt-metrics-{digest}"
    return folder


class _Offer:
    """A name, the lock on it, and the socket under it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock: int | None = None
        self._path: Path | None = None
        self._server: asyncio.Server | None = None

    async def open(self, folder: Path) -> None:
        """Raises OSError."""
        listener = self._listen(folder)
        try:
            self._server = await asyncio.start_unix_server(_tell, sock=listener)
        except BaseException:
            listener.close()
            raise

    def _listen(self, folder: Path) -> socket.socket:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if folder.is_symlink() or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise PermissionError(f"{folder} belongs to somebody else")
        self.name, self._lock = _take_name(folder, self.name)
        path = folder / f"{self.name}.sock"
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(str(path))
            path.chmod(0o600)
        except BaseException:
            listener.close()
            raise
        self._path = path
        return listener

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._let_go()

    def _let_go(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)


def _take_name(folder: Path, name: str) -> tuple[str, int]:
    for number in range(1, MOST_PROCESSES + 1):
        numbered = name if number == 1 else f"{name}-{number}"
        lock = os.open(folder / f"{numbered}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
        else:
            return numbered, lock
    raise OSError(f"{folder} has {MOST_PROCESSES} processes already")


def _lonely_name() -> str:
    """Of a process that offers nothing, beside one that has its name by a lock."""
    return f"{process_name()}-{os.getpid()}"


def _names(state_dir: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        yield from sorted(path.stem for path in metrics_dir(state_dir).glob("*.sock"))


async def _tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        writer.write(encode_snapshot())
        async with asyncio.timeout(READ_LIMIT_S):
            await writer.drain()
    except (OSError, TimeoutError):
        pass
    finally:
        writer.close()


async def _read(path: Path) -> list[Family] | None:
    """None of a process that is gone, or that does not answer in time."""
    try:
        async with asyncio.timeout(READ_LIMIT_S):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=MAX_SNAPSHOT_BYTES)
            try:
                return decode_snapshot(await reader.read(-1))
            finally:
                writer.close()
    except (OSError, TimeoutError, msgspec.MsgspecError):
        return None
