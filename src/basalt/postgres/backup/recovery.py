"""A copied data directory becomes a database again: PostgreSQL reads the log up to a moment and stops there.

The server that does so has no port, and its socket lies in a folder that only its own user enters; no password is
asked for, because those of the copy may be lost.
"""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from basalt.errors import BasaltError
from basalt.postgres.backup.lsn import render_lsn
from basalt.postgres.initdb import SUPERUSER
from basalt.postgres.install import PostgresInstall
from basalt.postgres.os_user import ServerUser
from basalt.postgres.postmaster import stop_postmaster

POLL_S: Final = 0.05
PORT: Final = 5432  # a part of the socket's name
ENDED_EARLY: Final = "recovery ended before configured recovery target was reached"


@dataclass(frozen=True)
class RecoveryTarget:
    """Where recovery stops: before `position`, at `time`, or at the end of the log when neither is set."""

    timeline: int | None = None
    position: int | None = None
    time: datetime | None = None


class RecoveryError(BasaltError):
    """The copy did not become a database; the message has PostgreSQL's reason."""

    def __init__(self, reason: str) -> None:
        super().__init__("recovery_failed", 500, f"PostgreSQL did not start on the data: {reason}")
        self.ended_early = ENDED_EARLY in reason


@contextmanager
def recovered_server(
    install: PostgresInstall, data_dir: Path, user: ServerUser, *, wal_dir: Path, target: RecoveryTarget
) -> Iterator[str]:
    """The recovered server, running and writable; yields the connection string of its superuser. At the end it is shut
    down, and `data_dir` is a plain cluster. Raises RecoveryError."""
    (data_dir / "recovery.signal").touch(mode=0o600)
    user.own(data_dir / "recovery.signal", 0o600)
    with running_server(install, data_dir, user, recovery_options(wal_dir, target)) as conninfo:
        yield conninfo


@contextmanager
def running_server(
    install: PostgresInstall, data_dir: Path, user: ServerUser, options: Iterable[str] = ()
) -> Iterator[str]:
    """A server on `data_dir` that only its own user and root reach. Raises RecoveryError."""
    run_dir = Path(tempfile.mkdtemp(prefix="basalt-recovery-"))
    process: subprocess.Popen[bytes] | None = None
    try:
        (run_dir / "pg_hba.conf").write_text("local all all trust\n", "ascii")
        for path in (run_dir / "pg_hba.conf", run_dir):
            user.own(path, 0o700 if path == run_dir else 0o600)
        log_file = run_dir / "log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [install.bin_dir / "postgres", "-D", data_dir, *_private_options(run_dir), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
                start_new_session=True,
                **user.run_as(),
            )
        conninfo = make_conninfo("", host=str(run_dir), port=PORT, user=SUPERUSER, dbname="postgres")
        _wait_writable(process, conninfo, log_file)
        yield conninfo
    finally:
        if process is not None:
            if process.poll() is None:
                stop_postmaster(process.pid, data_dir)
            process.wait()
        shutil.rmtree(run_dir, ignore_errors=True)


def _wait_writable(process: subprocess.Popen[bytes], conninfo: str, log_file: Path) -> None:
    """As long as it takes: recovery may have days of log to read. Raises RecoveryError when the server ends."""
    while True:
        if process.poll() is not None:
            raise RecoveryError(_reason(log_file))
        try:
            with psycopg.connect(conninfo, connect_timeout=5) as connection:
                if connection.execute("select pg_is_in_recovery()").fetchone() == (False,):
                    return
        except psycopg.OperationalError:
            pass  # it does not take connections yet
        time.sleep(POLL_S)


def _private_options(run_dir: Path) -> Iterator[str]:
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(run_dir),
        "unix_socket_permissions": "0700",
        "port": str(PORT),
        "hba_file": str(run_dir / "pg_hba.conf"),
        "ssl": "off",
        "lc_messages": "C",
    }
    for name, value in settings.items():
        yield from ("-c", f"{name}={value}")


def recovery_options(wal_dir: Path, target: RecoveryTarget) -> Iterator[str]:
    folder = shlex.quote(str(wal_dir)).replace("%", "%%")
    settings = {
        "restore_command": f'cp {folder}/%f "%p"',
        "recovery_target_timeline": str(target.timeline) if target.timeline else "latest",
        "recovery_target_action": "promote",
        "hot_standby": "off",  # with it the settings of the time of the backup would have to be the present ones
        "archive_mode": "off",
    }
    if target.position is not None:
        settings |= {"recovery_target_lsn": render_lsn(target.position), "recovery_target_inclusive": "off"}
    elif target.time is not None:
        settings |= {"recovery_target_time": target.time.isoformat()}
    for name, value in settings.items():
        yield from ("-c", f"{name}={value}")


def _reason(log_file: Path) -> str:
    text = log_file.read_text("utf-8", "replace")
    found = re.findall(r"(?:FATAL|PANIC):\s+(.+)", text)
    lines = text.strip().splitlines()
    return found[-1] if found else (lines[-1] if lines else "it said nothing")
