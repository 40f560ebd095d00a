"""The log on its way to the target: what is archived, how far it is known to go, and what stands in the way."""

import asyncio
import os
import re
import resource
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from pyrage import x25519

from basalt.config import BackupSettings, Settings
from basalt.postgres import DatabaseAccess, forget_archive
from basalt.postgres.backup import ARCHIVE_SLOT, RecoveryTarget, WalStream, parse_lsn
from basalt.postgres.backup.recovery import recovery_options
from basalt.project.backup import Envelope, WalArchiver
from basalt.project.backup.files import Shelf
from basalt.project.backup.target import FolderTarget
from basalt.project.backup.wal_shelf import WalShelf
from tests.projects import settings_of, write_project

pytestmark = pytest.mark.req("P26")


@pytest.fixture
def target(tmp_path: Path) -> FolderTarget:
    target = FolderTarget(tmp_path / "backups")
    target.open(may_write=True)
    return target


@pytest.fixture
def archived(database: DatabaseAccess) -> Iterator[DatabaseAccess]:
    """A database whose log may be archived, for the time of a test."""
    yield database
    deadline = time.monotonic() + 30
    while has_slot(database):  # as long as PostgreSQL sees a reader
        assert time.monotonic() < deadline
        forget_archive(database)


def has_slot(access: DatabaseAccess) -> bool:
    return ask(access, f"select count(*) from pg_replication_slots where slot_name = '{ARCHIVE_SLOT}'") == "1"


def ask(access: DatabaseAccess, question: str) -> str:
    with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as connection:
        row = connection.execute(question.encode()).fetchone()
        assert row is not None
        return str(row[0])


@asynccontextmanager
async def archiving(settings: Settings, access: DatabaseAccess) -> AsyncIterator[None]:
    """Ends by a stop in order."""
    stopping = asyncio.Event()
    running = asyncio.create_task(WalArchiver(settings, access).run(stopping))
    try:
        yield
    finally:
        stopping.set()
        await running


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


async def test_the_archive_is_known_to_go_to_the_last_commit_before_a_stop(
    archived: DatabaseAccess, target: FolderTarget, tmp_path: Path
) -> None:
    settings = settings_of(write_project(tmp_path / "project", {}))
    backup = BackupSettings(target=target.place, wal_interval_s=0.1)
    settings = replace(settings, basalt=replace(settings.basalt, backup=backup))
    system_id = ask(archived, "select system_identifier from pg_control_system()")
    shelf = WalShelf.of_system(Shelf(target, Envelope([], [], target.place)), system_id)
    async with archiving(settings, archived):
        await until(lambda: shelf.read_position() is not None)  # also of a server on which nothing happens
        with psycopg.connect(archived.conninfo("supabase_admin"), autocommit=True) as connection:
            connection.execute("create table public.last ()")
        committed, position = datetime.now(UTC), parse_lsn(ask(archived, "select pg_current_wal_flush_lsn()"))
    noted = shelf.read_position()
    assert noted is not None
    assert noted.at >= committed
    assert max(stored.piece.end for stored in shelf.list()) >= noted.position >= position


def test_whoever_archives_notes_a_timeline_once_and_needs_no_key_for_it(target: FolderTarget) -> None:
    """After a restore the log is on a timeline of its own; the next start finds its history at the target."""
    recipient = x25519.Identity.generate().to_public()
    archive = WalShelf.of_system(Shelf(target, Envelope([recipient], [], target.place)), "7")
    for _ in range(2):
        archive.put_history(2, b"1\t0/3000110\tno recovery target specified\n")
    assert len(list(target.list(""))) == 1


def test_the_log_is_read_in_a_process_that_has_thousands_of_files_open(
    cluster_access: DatabaseAccess,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        stream = WalStream(cluster_access.conninfo("supabase_admin"))
        try:
            identity = stream.identify()
            stream.ensure_slot("of_many_files", temporary=True)
            stream.start(identity.position, identity.timeline, "of_many_files")
            assert stream.read(0.05) is None
        finally:
            stream.close()
    finally:
        for descriptor in others:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_recovery_fetches_the_log_from_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "it's 100% $HOME `id`"
    folder.mkdir()
    (folder / "000000010000000000000001").write_bytes(b"log")
    [command] = [
        option.removeprefix("restore_command=")
        for option in recovery_options(folder, RecoveryTarget())
        if option.startswith("restore_command=")
    ]
    asked = {"%%": "%", "%f": "000000010000000000000001", "%p": str(tmp_path / "fetched")}
    whole = "".join(asked.get(part, part) for part in re.split(r"(%.)", command))
    subprocess.run(whole, shell=True, check=True)
    assert (tmp_path / "fetched").read_bytes() == b"log"
