"""The running server process of a data directory: read from `postmaster.pid`, told apart from a stale file,
stopped."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.02
UNUSED_PID = 2**22  # above every number that Linux and macOS give out


@dataclass(frozen=True)
class Postmaster:
    """What `postmaster.pid` says of a process that is alive and serves this data directory."""

    pid: int
    port: int
    is_ready: bool


def read_postmaster(data_dir: Path) -> Postmaster | None:
    """The living server of `data_dir`; None when there is none, whatever a stale file says. A number that the
    operating system has meanwhile given to another program counts as stale."""
    try:
        lines = (data_dir / "postmaster.pid").read_text("utf-8").splitlines()
    except FileNotFoundError:
        return None
    if len(lines) < 4 or not lines[0].isdigit() or not _serves(int(lines[0]), data_dir):
        return None
    status = lines[7].strip() if len(lines) > 7 else ""
    return Postmaster(pid=int(lines[0]), port=int(lines[3]), is_ready=status == "ready")


def disown_pid_file(data_dir: Path) -> None:
    """Makes a stale `postmaster.pid` harmless whose number belongs to another program by now, for which
    PostgreSQL would refuse to start. The file itself stays: it names the shared memory by which PostgreSQL
    finds processes left behind."""
    path = data_dir / "postmaster.pid"
    try:
        first, separator, rest = path.read_text("utf-8").partition("\n")
    except FileNotFoundError:
        return
    if first.isdigit() and not _serves(int(first), data_dir):
        with path.open("r+", encoding="utf-8") as file:
            file.write(f"{UNUSED_PID}{separator}{rest}")
            file.truncate()


def stop_postmaster(pid: int, data_dir: Path, *, timeout_s: float = 30) -> None:
    """Fast shutdown: sessions end, what was committed is on disk. Past the limit, immediate shutdown."""
    for request, limit_s in ((signal.SIGINT, timeout_s), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0)):
        try:
            os.kill(pid, request)
        except ProcessLookupError:
            return
        if _wait_gone(pid, data_dir, limit_s):
            return


def _wait_gone(pid: int, data_dir: Path, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if not _serves(pid, data_dir):
            return True
        time.sleep(POLL_S)
    return False


def _serves(pid: int, data_dir: Path) -> bool:
    """Whether process `pid` is alive and was started on `data_dir`."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
        answer = subprocess.run(
            ["ps", "-ww", "-o", "args=", "-p", str(pid)],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        command = answer.stdout
    except (ProcessLookupError, PermissionError):
        return False
    return str(data_dir) in command  # a zombie has an empty command line
