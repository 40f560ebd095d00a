"""What is kept and what goes, and when a backup is due."""

import hashlib
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from basalt.config import BackupSettings, Settings, parse_cron_line
from basalt.postgres.backup import Piece
from basalt.project.backup import BackupError, Envelope, Manifest, RestoreRequest, choose_backup, list_backups
from basalt.project.backup.files import Shelf
from basalt.project.backup.manifest import Contents, LogRange, find_backup, is_manifest, write_manifest
from basalt.project.backup.objects import list_object_files
from basalt.project.backup.records import Overview
from basalt.project.backup.retention import first_needed, remove_old
from basalt.project.backup.scheduler import is_due
from basalt.project.backup.target import FolderTarget
from basalt.project.backup.wal_shelf import WalShelf
from tests.projects import settings_of, write_project

pytestmark = pytest.mark.req("P26")

NOON = datetime.now(UTC) - timedelta(days=30)
DAY = timedelta(days=1)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    target = FolderTarget(tmp_path / "backups")
    target.open(may_write=True)
    return Shelf(target, Envelope([], [], target.place))


def settings(tmp_path: Path, **backup: object) -> Settings:
    found = settings_of(write_project(tmp_path / "project", {}))
    return replace(found, basalt=replace(found.basalt, backup=BackupSettings(**backup)))  # type: ignore[arg-type]


def add_backup(shelf: Shelf, number: int, stored: list[str]) -> Manifest:
    at = NOON + number * DAY
    backup_id = f"{at:%Y%m%dT%H%M%SZ}-{number:06x}"
    base = shelf.put_stream(f"backups/{backup_id}/base", [b"base"])
    contents = Contents(tables=None, objects=[], stored=stored)
    listed = shelf.put_stream(f"backups/{backup_id}/contents", [msgspec.json.encode(contents)])
    manifest = Manifest(
        id=backup_id,
        kind="physical",
        project_id="project",
        basalt_version="0",
        postgres_version="15.0",
        postgres_major=15,
        started_at=at,
        created_at=at,
        finished_at=at,
        sealed=False,
        log=LogRange("7", 1, number * 100, number * 100 + 10, number * 100 + 10),
        files={"base": base, "contents": listed},
        object_count=0,
        object_bytes=0,
        missing_objects=0,
    )
    write_manifest(shelf.target, manifest)
    return manifest


def add_object(shelf: Shelf, tmp_path: Path, version: str, at: datetime) -> None:
    name = f"objects/{version[:2]}/{version}.4.0.{hashlib.sha256(b'data').hexdigest()}"
    shelf.target.put(name, b"data")
    os.utime(tmp_path / "backups" / name, (at.timestamp(), at.timestamp()))


def test_older_backups_their_log_and_objects_that_nothing_names_go(shelf: Shelf, tmp_path: Path) -> None:
    versions = {name: f"{name * 8}-0000-0000-0000-000000000000" for name in "abc"}
    for number, stored in enumerate([["a"], ["a", "b"], ["b"]]):
        add_backup(shelf, number, [versions[name] for name in stored])
    log = WalShelf.of_system(shelf, "7")
    for start in (0, 50, 100, 200):
        log.put(Piece(1, start, start + 50), b"log")
    add_object(shelf, tmp_path, versions["a"], NOON)
    add_object(shelf, tmp_path, versions["b"], NOON)
    add_object(shelf, tmp_path, versions["c"], NOON + 2 * DAY)  # may be named by the log alone
    half = shelf.put("backups/20200101T000000Z-half00/base/00000", b"half")
    os.utime(tmp_path / "backups" / half.name, (0, 0))
    remove_old(settings(tmp_path, keep=1, keep_wal_s=0), shelf, lambda _: None)
    assert [one.log.start for one in list_backups(shelf) if one.log] == [200]
    assert [stored.piece.start for stored in log.list()] == [200]
    kept = {file.name.rpartition("/")[2].split(".")[0] for file in shelf.target.list("objects/")}
    assert kept == {versions["b"], versions["c"]}
    assert "half00" not in "".join(file.name for file in shelf.target.list("backups/"))


def test_a_damaged_manifest_hides_its_own_backup_alone_and_costs_it_no_file(
    shelf: Shelf, tmp_path: Path
) -> None:
    first, second = add_backup(shelf, 0, []), add_backup(shelf, 1, [])
    [name] = [file.name for file in shelf.target.list(first.folder) if is_manifest(file.name)]
    shelf.target.put(name, b"{")
    for file in list(shelf.target.list(first.folder)):
        os.utime(tmp_path / "backups" / file.name, (0, 0))
    before = [file.name for file in shelf.target.list(first.folder)]
    assert list_backups(shelf) == [second]
    remove_old(settings(tmp_path, keep=1), shelf, lambda _: None)
    assert [file.name for file in shelf.target.list(first.folder)] == before
    with pytest.raises(BackupError, match="its checksum differs"):
        find_backup(shelf, first.id)


def test_chunks_of_an_object_that_were_sent_twice_go_together(shelf: Shelf, tmp_path: Path) -> None:
    for number in range(2):
        add_backup(shelf, number + 3, [])
        name = f"objects/aa/aaaa.4.0.{number:064}"
        shelf.target.put(name, b"data")
        os.utime(tmp_path / "backups" / name, (NOON.timestamp(),) * 2)
    assert list_object_files(shelf)["aaaa"].missing == []
    remove_old(settings(tmp_path, keep=1), shelf, lambda _: None)
    assert list(shelf.target.list("objects/")) == []


def test_the_log_reaches_back_as_far_as_was_asked(shelf: Shelf) -> None:
    backups = [add_backup(shelf, number, []) for number in range(4)]
    now = NOON + 3.5 * DAY
    assert first_needed(backups, 0, now) == backups[0]
    assert first_needed(backups, 86400, now) == backups[2]
    assert first_needed(backups, 30 * 86400, now) == backups[0]
    assert first_needed([], 0, now) is None


def test_a_moment_before_the_backup_that_was_asked_for_is_refused(shelf: Shelf) -> None:
    early, late = (add_backup(shelf, number, []) for number in (0, 2))
    moment = NOON + DAY
    assert choose_backup(shelf, RestoreRequest(to=moment)) == early
    with pytest.raises(BackupError, match="which is after the moment"):
        choose_backup(shelf, RestoreRequest(late.id, to=moment))
    with pytest.raises(BackupError, match="the oldest is of"):
        choose_backup(shelf, RestoreRequest(to=NOON - DAY))


@pytest.mark.parametrize(
    ("complete", "failed", "gap", "due"),
    [
        (None, None, None, True),
        (1, None, None, False),
        (11, None, None, True),
        (11, 0.1, None, False),
        (11, 0.5, None, True),
        (1, None, 0.5, True),
        (1, None, 2, False),
    ],
)
def test_a_backup_is_due(
    complete: float | None, failed: float | None, gap: float | None, *, due: bool
) -> None:
    """Hours ago, at 10:00, with a schedule of 03:00: the first one, by the schedule, after a gap, not right after a
    failure."""
    now = datetime(2026, 11, 26, 10, tzinfo=UTC)

    def ago(hours: float | None) -> datetime | None:
        return None if hours is None else now - timedelta(hours=hours)

    overview = Overview(ago(complete), ago(complete), ago(failed), ago(gap), now)
    assert is_due(parse_cron_line("0 3 * * *"), overview) is due
