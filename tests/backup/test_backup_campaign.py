"""Backups under load, on S3, of an external database, interrupted; a target that is away; a log that was let go."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import psycopg
import pytest

from basalt.config import BackupSettings
from basalt.postgres import DatabaseAccess, access_from_url, load_access
from basalt.project.backup import (
    Envelope,
    create_backup,
    list_backups,
    rehearse_backup,
    restore_dump,
    verify_backup,
)
from basalt.project.backup.files import Shelf
from basalt.project.backup.target import FolderTarget
from tests.backup.conftest import (
    Yard,
    destroy,
    now_of,
    service_client,
    start_yard,
    wait_archived,
    write_note,
)
from tests.conftest import CloneDatabase
from tests.projects import settings_of, write_project
from tests.server import Server, open_to_postgres
from tests.storage.engines import BUCKET, running_object_store

pytestmark = [pytest.mark.req("P26"), pytest.mark.timeout(600)]


@dataclass
class Writer:
    """Writes until it is told to stop or the server is gone. `begun` and `acknowledged` are times by the clock of this
    machine, which is the database's."""

    server: Server
    name: str
    begun: dict[str, datetime] = field(default_factory=dict)
    acknowledged: dict[str, datetime] = field(default_factory=dict)

    def run(self, stopping: threading.Event) -> None:
        with service_client(self.server) as client:
            number = 0
            while not stopping.is_set():
                body = f"{self.name}-{number}"
                number += 1
                self.begun[body] = datetime.now(UTC)
                try:
                    write_note(client, body)
                except httpx2.HTTPError:
                    return
                self.acknowledged[body] = datetime.now(UTC)


def bodies_of(client: httpx2.Client) -> set[str]:
    """Of all rows; whatever object there is has its bytes."""
    found: set[str] = set()
    while rows := client.get("/rest/v1/notes", params={"order": "id", "offset": str(len(found))}).json():
        found |= {row["body"] for row in rows}
    return found


def check_objects(client: httpx2.Client, wanted: set[str]) -> None:
    """Every one of them is there with its bytes, and so is every other that is listed."""
    listed: set[str] = set()
    while page := client.post(
        "/storage/v1/object/list/box", json={"prefix": "", "limit": 1000, "offset": len(listed)}
    ).json():
        listed |= {entry["name"] for entry in page}
    assert wanted <= listed
    for name in listed:
        content = client.get(f"/storage/v1/object/box/{name}").raise_for_status().content
        assert content == name.encode() * 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return open_to_postgres(tmp_path)


def make_box(server: Server) -> None:
    with service_client(server) as client:
        client.post("/storage/v1/bucket", json={"id": "box", "name": "box"}).raise_for_status()


def test_every_acknowledged_write_before_a_moment_comes_back_and_none_after(folder: Path) -> None:
    yard, server = start_yard(folder, str(folder / "backups"))
    make_box(server)
    stopping = threading.Event()
    writers = [Writer(server, f"writer{number}") for number in range(3)]
    threads = [threading.Thread(target=writer.run, args=[stopping]) for writer in writers]
    for thread in threads:
        thread.start()
    first = yard.back_up()
    assert first.missing_objects == 0
    time.sleep(2)  # there is something between the backup and the moment
    moment = now_of(server)
    time.sleep(3)  # and behind it, long enough to be archived
    killed_at = datetime.now(UTC)
    destroy(yard, server)
    stopping.set()
    for thread in threads:
        thread.join()
    begun = {body: at for writer in writers for body, at in writer.begun.items()}
    acknowledged = {body: at for writer in writers for body, at in writer.acknowledged.items()}
    point = datetime.fromisoformat(moment)
    key = ("-i", str(yard.identity))
    answer = yard.run("backup", "restore", str(yard.project), "--to", moment, *key, "--json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["missing_objects"] == 0
    restored = yard.start()
    try:
        with service_client(restored) as client:
            found = bodies_of(client)
            before = {body for body, at in acknowledged.items() if at <= point}
            assert before
            assert before <= found
            assert not {body for body in found if begun[body] > point}
            check_objects(client, before)
    finally:
        restored.stop()
    answer = yard.run("backup", "restore", str(yard.project), "--timeline", "1", "--force", *key, "--json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["missing_objects"] == 0
    latest = yard.start()
    try:
        with service_client(latest) as client:
            found = bodies_of(client)
            archived = {body for body, at in acknowledged.items() if (killed_at - at).total_seconds() > 2}
            assert len(archived) > len(before)
            assert archived <= found
            check_objects(client, archived)
    finally:
        latest.stop()


def test_a_target_that_is_away_stops_no_write_and_loses_nothing(folder: Path) -> None:
    yard, server = start_yard(folder, str(folder / "backups"))
    try:
        make_box(server)
        yard.back_up()
        away = folder / "backups-away"
        (folder / "backups").rename(away)
        (folder / "backups").write_text("not a folder")
        with service_client(server) as client:
            for number in range(5):
                write_note(client, f"meanwhile-{number}")
            wait_for_event(server, "wal_archive_failing")
            (folder / "backups").unlink()
            away.rename(folder / "backups")
            write_note(client, "again")
        wait_archived(yard)
        shelf = yard.shelf()
        assert verify_backup(shelf, list_backups(shelf)[-1], lambda _: None).problems == []
        wait_for_event(server, "wal_archive_works_again")
    finally:
        server.stop()


def test_a_log_that_was_let_go_is_a_gap_that_is_told_and_closed_by_a_backup(folder: Path) -> None:
    yard, server = start_yard(folder, str(folder / "backups"))
    try:
        make_box(server)
        yard.back_up()
        access = load_access(yard.settings.state_dir)
        with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as connection:
            connection.execute("alter system set max_slot_wal_keep_size = '32MB'")
            connection.execute("alter system set max_wal_size = '32MB'")
            connection.execute("select pg_reload_conf()")
            away = folder / "backups-away"
            (folder / "backups").rename(away)
            (folder / "backups").write_text("not a folder")
            wait_for_event(
                server,
                "wal_archive_failing",
                act=lambda: connection.execute("create table if not exists t()"),
            )
            for _ in range(8):
                connection.execute("select pg_logical_emit_message(false, 'x', 'x'), pg_switch_wal()")
                connection.execute("checkpoint")
            (folder / "backups").unlink()
            away.rename(folder / "backups")
            wait_for_event(server, "wal_archive_gap")
            kinds = connection.execute("select kind from basalt.backups order by started_at").fetchall()
            assert [kind for (kind,) in kinds] == ["physical", "wal_gap"]
        with service_client(server) as client:
            write_note(client, "behind-the-gap")
        wait_archived(yard)
        shelf = yard.shelf()
        [problem] = verify_backup(shelf, list_backups(shelf)[-1], lambda _: None).problems
        assert "lacks" in problem
        key = ("-i", str(yard.identity))
        refused = yard.run("backup", "restore", str(yard.project), "--force", *key)
        assert refused.returncode == 1
        assert "The archived log lacks" in refused.stderr
        again = yard.start()
        yard.back_up()
        assert verify_backup(shelf, list_backups(shelf)[-1], lambda _: None).problems == []
        again.stop()
    finally:
        if server.process.poll() is None:
            server.stop()
        server.close_output()


def test_a_backup_that_was_killed_is_not_listed_and_the_next_one_goes_on(folder: Path) -> None:
    yard, server = start_yard(folder, str(folder / "backups"))
    try:
        make_box(server)
        with service_client(server) as client:
            for number in range(20):
                write_note(client, f"note-{number}")
        for part in ("keys", "base", "wal", "contents"):
            kill_when(yard, f"backups/*/{part}/*")
            shelf = yard.shelf()
            for listed in list_backups(shelf):
                assert verify_backup(shelf, listed, lambda _: None).problems == []
            for half in (folder / "backups" / "backups").iterdir():
                shutil.rmtree(half)
        made = yard.back_up()
        assert [one.id for one in list_backups(yard.shelf())] == [made.id]
        with psycopg.connect(load_access(yard.settings.state_dir).conninfo("supabase_admin")) as connection:
            rows = connection.execute(
                "select state, error from basalt.backups order by started_at"
            ).fetchall()
        assert rows[:3] == [("failed", "it was interrupted")] * 3
        assert rows[-1] == ("complete", None)
    finally:
        server.stop()


def test_a_project_comes_back_from_s3(folder: Path) -> None:
    with running_object_store() as store:
        s3 = {
            "BASALT_BACKUP_S3_ENDPOINT": store.endpoint,
            "BASALT_BACKUP_S3_ACCESS_KEY_ID": "key",
            "BASALT_BACKUP_S3_SECRET_ACCESS_KEY": "secret",
        }
        yard, server = start_yard(folder, f"s3://{BUCKET}/project", **s3)
        make_box(server)
        with service_client(server) as client:
            write_note(client, "before")
            yard.back_up()
            write_note(client, "after")
        wait_archived(yard)
        destroy(yard, server)
        assert all(name.endswith((".age", ".json")) for name in store.names("project/"))
        key = ("-i", str(yard.identity))
        answer = yard.run("backup", "restore", str(yard.project), *key, "--json")
        assert answer.returncode == 0, answer.stderr
        restored = yard.start()
        try:
            with service_client(restored) as client:
                assert bodies_of(client) == {"before", "after"}
                check_objects(client, {"before", "after"})
        finally:
            restored.stop()


def test_an_external_database_is_dumped_rehearsed_and_restored(
    database: DatabaseAccess, clone_database: CloneDatabase, folder: Path
) -> None:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute(
            "create table public.notes as select n, 'note ' || n as body from generate_series(1, 500) n"
        )
    settings = settings_of(write_project(folder / "project", {}))
    settings = replace(
        settings, basalt=replace(settings.basalt, backup=BackupSettings(target=str(folder / "kept")))
    )
    access = access_from_url(database.url("supabase_admin"), settings.state_dir)
    target = FolderTarget(folder / "kept")
    target.open(may_write=True)
    shelf = Shelf(target, Envelope([], [], target.place))
    manifest = create_backup(settings, access, shelf, lambda _: None)
    assert manifest.kind == "logical"
    assert verify_backup(shelf, manifest, lambda _: None).problems == []
    report = rehearse_backup(settings, shelf, manifest, lambda _: None)
    assert report.problems == []
    assert report.tables_compared > 50
    with clone_database("template1") as empty:
        elsewhere = access_from_url(empty.url("supabase_admin"), settings.state_dir)
        assert restore_dump(settings, elsewhere, shelf, manifest, lambda _: None, force=False) == (0, 0, None)
        with psycopg.connect(empty.conninfo("supabase_admin")) as connection:
            assert connection.execute("select count(*) from public.notes").fetchone() == (500,)


def kill_when(yard: Yard, pattern: str) -> None:
    """`kill -9` of a `backup create` as soon as there is such a file at the target."""
    command = [
        sys.executable,
        "-c",
        "from basalt.cli import main; main()",
        "backup",
        "create",
        str(yard.project),
    ]
    environ = {**os.environ, **yard.environ}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(yard.target.glob(pattern)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


def wait_for_event(server: Server, name: str, act: object = None) -> None:
    deadline = time.monotonic() + 90
    while name not in server.log.read_text():
        assert time.monotonic() < deadline, f"no {name} in the log"
        if callable(act):
            act()
        time.sleep(0.2)
