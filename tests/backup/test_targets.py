"""Folders and S3 as targets: one suite for both, and what goes wrong with each."""

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from basalt.config import BackupSettings, BackupStoreSettings, Settings
from basalt.project.backup import BackupError
from basalt.project.backup.target import (
    TEMPORARY,
    TEMPORARY_S,
    FolderTarget,
    S3Target,
    Target,
    build_target,
)
from tests.projects import settings_of, write_project
from tests.storage.engines import BUCKET, ObjectStore, running_object_store

pytestmark = pytest.mark.req("P26")


@pytest.fixture(scope="module")
def object_store() -> Iterator[ObjectStore]:
    with running_object_store() as store:
        yield store


def s3_settings(store: ObjectStore, **given: Any) -> BackupSettings:
    values = {"endpoint": store.endpoint, "access_key_id": "key", "secret_access_key": "secret"}
    return BackupSettings(s3=BackupStoreSettings(**{**values, **given}))


@pytest.fixture(params=["folder", "s3"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    if request.param == "folder":
        return FolderTarget(tmp_path / "backups")
    store: ObjectStore = request.getfixturevalue("object_store")
    return S3Target(f"s3://{BUCKET}/{uuid4().hex}/prefix", s3_settings(store))


def test_files_are_kept_listed_in_order_replaced_and_deleted(target: Target) -> None:
    target.open(may_write=True)
    for name in ("b/2", "b/1", "a/x/1", "bb/1"):
        target.put(name, name.encode())
    target.put("b/1", b"another")
    assert target.get("b/1") == b"another"
    assert target.get("b/3") is None
    assert [(file.name, file.size) for file in target.list("b/")] == [("b/1", 7), ("b/2", 3)]
    assert [file.name for file in target.list("")] == ["a/x/1", "b/1", "b/2", "bb/1"]
    target.put_first("b/1", b"too late")
    target.put_first("c", b"first")
    assert (target.get("b/1"), target.get("c")) == (b"another", b"first")
    target.delete(["b/1", "a/x/1", "c", "never/there"])
    assert [file.name for file in target.list("")] == ["b/2", "bb/1"]
    assert list(target.list("none/")) == []


@pytest.mark.long
def test_more_files_than_a_page_holds_are_listed_and_deleted(target: Target) -> None:
    target.open(may_write=True)
    names = [f"wal/{number:05}" for number in range(1100)]
    for name in names:
        target.put(name, b"log")
    assert [file.name for file in target.list("wal/")] == names
    target.delete(names)
    assert list(target.list("")) == []


def test_a_folder_is_readable_for_its_owner_only(tmp_path: Path) -> None:
    target = FolderTarget(tmp_path / "backups")
    target.open(may_write=True)
    target.put("a/1", b"secret")
    assert (tmp_path / "backups").stat().st_mode & 0o077 == 0
    assert (tmp_path / "backups" / "a" / "1").stat().st_mode & 0o077 == 0


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = FolderTarget(tmp_path)

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(BackupError, match="no space left") as refusal:
        target.put("a/1", b"x" * 1000)
    assert refusal.value.code == "backup_target_full"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_is_only_read_is_neither_made_nor_written(tmp_path: Path) -> None:
    """A mistyped place is no empty one, and a restore may read from a disk that cannot be written."""
    with pytest.raises(BackupError, match="No such file or directory"):
        FolderTarget(tmp_path / "mistyped").open(may_write=False)
    assert not (tmp_path / "mistyped").exists()
    kept = tmp_path / "kept"
    kept.mkdir()
    before = kept.stat().st_mtime_ns
    FolderTarget(kept).open(may_write=False)
    assert kept.stat().st_mtime_ns == before


def test_what_a_killed_process_has_left_goes_after_a_day(tmp_path: Path) -> None:
    target = FolderTarget(tmp_path)
    target.open(may_write=True)
    for name, age_s in ((f"{TEMPORARY}old", 2 * TEMPORARY_S), (f"{TEMPORARY}new", 60.0), (".other", 1e9)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    target.open(may_write=True)
    assert {path.name for path in tmp_path.iterdir()} == {f"{TEMPORARY}new", ".other"}
    assert list(target.list("")) == []


def test_a_target_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "backups").write_text("")
    with pytest.raises(BackupError, match="cannot be used for backups"):
        FolderTarget(tmp_path / "backups").open(may_write=True)


@pytest.mark.parametrize(("bucket", "reason"), [("not-there", "no such bucket")])
def test_a_bucket_that_is_not_there_is_said(object_store: ObjectStore, bucket: str, reason: str) -> None:
    with pytest.raises(BackupError, match=reason):
        S3Target(f"s3://{bucket}/x", s3_settings(object_store)).open(may_write=True)


def test_a_project_without_a_target_is_told_what_to_set(tmp_path: Path) -> None:
    settings: Settings = settings_of(write_project(tmp_path, {}))
    with pytest.raises(BackupError) as refusal:
        build_target(settings)
    assert "basalt.backup.target" in (refusal.value.hint or "")
    relative = replace(settings, basalt=replace(settings.basalt, backup=BackupSettings(target="kept")))
    assert build_target(relative).place == str(tmp_path / "kept")
