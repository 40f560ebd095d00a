"""pg_dump, pg_restore and psql of a version that fits the server: its major version or a later one."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from basalt.errors import BasaltError
from basalt.postgres.access import DatabaseAccess
from basalt.postgres.initdb import SUPERUSER
from basalt.postgres.install import program_folders

READ_BYTES: Final = 1024 * 1024


class DumpError(BasaltError):
    """A program of PostgreSQL failed, or is not there; the message has its last line."""


def find_program(name: str, major: int) -> Path:
    """The program of this major version, or of the next later one. Raises DumpError."""
    found: dict[int, Path] = {}
    on_path = shutil.which(name)
    for path in [*(folder / name for folder in program_folders()), *([Path(on_path)] if on_path else [])]:
        version = _read_major(path)
        if version is not None:
            found.setdefault(version, path)
    later = sorted(version for version in found if version >= major)
    if not later:
        raise DumpError(
            "postgres_program_missing",
            500,
            f"{name} of PostgreSQL {major} or later is not installed here",
            hint=f"apt-get install postgresql-client-{major}",
        )
    return found[later[0]]


@contextmanager
def dumping(
    name: str, access: DatabaseAccess, major: int, arguments: Sequence[str]
) -> Iterator[Iterator[bytes]]:
    """What the program writes to its standard output. Raises DumpError, also at the end."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [find_program(name, major), *_connection_arguments(access), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environ(access),
        )
        assert process.stdout is not None
        try:
            yield _blocks(process.stdout)
            if process.wait() != 0:
                raise _failed(name, errors)
        finally:
            process.stdout.close()
            if process.poll() is None:
                process.kill()
            process.wait()


def feed(
    name: str, access: DatabaseAccess, major: int, arguments: Sequence[str], blocks: Iterator[bytes]
) -> None:
    """Gives the program blocks on its standard input. Raises DumpError."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [find_program(name, major), *_connection_arguments(access), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=_environ(access),
        )
        _give(process, blocks)
        if process.returncode != 0:
            raise _failed(name, errors)


def list_archive(blocks: Iterator[bytes], major: int) -> list[str]:
    """The table of contents of a dump in pg_dump's own format, as pg_restore takes it back. Raises DumpError."""
    with tempfile.TemporaryFile() as listed, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [find_program("pg_restore", major), "--list"],
            stdin=subprocess.PIPE,
            stdout=listed,
            stderr=errors,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        )
        _give(process, blocks)
        if process.returncode != 0:
            raise _failed("pg_restore", errors)
        listed.seek(0)
        return listed.read().decode().splitlines(keepends=True)


def _give(process: subprocess.Popen[bytes], blocks: Iterator[bytes]) -> None:
    """Until it has ended; it may have enough before the last block, or fail, which its exit code says."""
    assert process.stdin is not None
    try:
        with suppress(BrokenPipeError), process.stdin:
            for block in blocks:
                process.stdin.write(block)
    except BaseException:
        process.kill()
        raise
    finally:
        process.wait()


def _blocks(pipe: IO[bytes]) -> Iterator[bytes]:
    while block := pipe.read(READ_BYTES):
        yield block


def _connection_arguments(access: DatabaseAccess) -> list[str]:
    parts = conninfo_to_dict(access.conninfo(SUPERUSER))
    parts.pop("password", None)
    return ["--no-password", "--dbname", make_conninfo("", **parts)]


def _environ(access: DatabaseAccess) -> dict[str, str]:
    """The password goes by the environment, where other users cannot read it from the list of processes."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "PGPASSFILE")}
    password = access.passwords.get(access.login(SUPERUSER))
    return {**kept, "LC_ALL": "C", **({"PGPASSWORD": password} if password else {})}


def _read_major(path: Path) -> int | None:
    if not path.is_file():
        return None
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    number = re.search(r"\b(\d+)(?:\.\d+|\w+)", answer.stdout)
    return int(number.group(1)) if number else None


def _failed(name: str, errors: IO[bytes]) -> DumpError:
    errors.seek(0)
    lines = [line for line in errors.read().decode("utf-8", "replace").strip().splitlines() if line.strip()]
    wrong = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()]
    reason = (wrong or lines or ["it said nothing"])[0]
    return DumpError(
        "postgres_program_failed", 500, f"{name} failed: {re.sub(f'^{name}: (error: )?', '', reason)}"
    )
