"""A physical copy of the running cluster as one tar stream, by the cluster's own pg_basebackup."""

import io
import json
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from basalt.errors import BasaltError
from basalt.postgres.backup.lsn import parse_lsn
from basalt.postgres.install import PostgresInstall

READ_BYTES: Final = 1024 * 1024
KEPT_MEMBERS: Final = ("backup_label", "backup_manifest")


class BaseBackupError(BasaltError):
    """pg_basebackup failed; the message is its last line."""

    def __init__(self, message: str) -> None:
        super().__init__("base_backup_failed", 500, f"The cluster could not be copied: {message}")


@dataclass(frozen=True)
class BaseRange:
    """The part of the log that the copy needs."""

    timeline: int
    start: int
    stop: int


class BaseCopy:
    """`read` gives the tar; once it is over, `range` says which log belongs to it."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._members: dict[str, bytes] = {}

    def read(self) -> Iterator[bytes]:
        """The bytes of the tar, as they come."""
        passed: list[bytes] = []
        with tarfile.open(fileobj=_Passing(self._pipe, passed), mode="r|", bufsize=READ_BYTES) as archive:
            for member in archive:
                if member.name in KEPT_MEMBERS:
                    content = archive.extractfile(member)
                    self._members[member.name] = content.read() if content is not None else b""
                yield from _taken(passed)
        while rest := self._pipe.read(READ_BYTES):
            passed.append(rest)
            yield from _taken(passed)
        yield from _taken(passed)

    @property
    def range(self) -> BaseRange:
        """Raises BaseBackupError when the copy ended early."""
        try:
            manifest: Any = json.loads(self._members["backup_manifest"])
            [wal] = manifest["WAL-Ranges"]
            return BaseRange(wal["Timeline"], parse_lsn(wal["Start-LSN"]), parse_lsn(wal["End-LSN"]))
        except (KeyError, ValueError) as exc:
            raise BaseBackupError("the copy ended before its manifest") from exc


@contextmanager
def copying_cluster(install: PostgresInstall, conninfo: str, label: str) -> Iterator[BaseCopy]:
    """Raises BaseBackupError, also at the end, when what came is not the whole copy."""
    parts = conninfo_to_dict(conninfo)
    password = str(parts.pop("password", "") or "")
    parts.pop("dbname", None)
    command = [
        str(install.bin_dir / "pg_basebackup"),
        *("-d", make_conninfo("", **parts)),
        *("-D", "-", "-F", "tar", "-X", "none", "-c", "fast", "-l", label, "--no-password"),
    ]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "PGPASSWORD": password},
        )
        assert process.stdout is not None
        try:
            yield BaseCopy(process.stdout)
            if process.wait() != 0:
                raise BaseBackupError(_last_line(errors))
        except (tarfile.TarError, EOFError) as exc:
            process.wait()
            raise BaseBackupError(_last_line(errors)) from exc
        finally:
            process.stdout.close()
            if process.poll() is None:
                process.kill()
                process.wait()


class _Passing(io.RawIOBase):
    """Reads from the pipe and keeps what it has read for whoever passes it on."""

    def __init__(self, pipe: IO[bytes], passed: list[bytes]) -> None:
        self._pipe = pipe
        self._passed = passed

    def read(self, size: int = -1) -> bytes:
        data = self._pipe.read(size)
        if data:
            self._passed.append(data)
        return data


def _taken(passed: list[bytes]) -> list[bytes]:
    taken = passed[:]
    passed.clear()
    return taken


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = [
        line
        for line in errors.read().decode("utf-8", "replace").strip().splitlines()
        if line.strip() and "NOTICE" not in line and "WARNING" not in line
    ]
    return re.sub(r"^pg_basebackup: (error: )?", "", lines[-1]) if lines else "it said nothing"
