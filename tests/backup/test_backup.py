"""A project is backed up while it works, destroyed, and comes back: to a moment, and to the last thing archived."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from basalt.access import load_sealer, load_secrets
from basalt.postgres import load_access
from basalt.postgres.backup import Piece
from basalt.project.backup import list_backups, verify_backup
from basalt.project.backup.wal_shelf import WalShelf
from tests.backup.conftest import ENV, MIGRATION, Yard, read_notes, service_client

pytestmark = [pytest.mark.req("P26"), pytest.mark.timeout(300)]


@pytest.fixture
def spare_target(yard: Yard, tmp_path: Path) -> Yard:
    """The same backups in a folder of its own, to be damaged."""
    copy = tmp_path / "backups"
    shutil.copytree(yard.target, copy)
    return replace(yard, target=copy, environ={**yard.environ, "BASALT_BACKUP_TARGET": str(copy)})


def test_nothing_at_the_target_can_be_read_without_the_key(yard: Yard) -> None:
    names = [path for path in yard.target.rglob("*") if path.is_file()]
    unsealed = {path.name.split(".")[0] for path in names if not path.name.endswith(".age")}
    assert unsealed == {"manifest", "position"}
    refused = yard.run("backup", "verify", str(yard.project))
    assert refused.returncode == 1
    assert "nothing that opens them was given" in refused.stderr


def test_a_rehearsal_finds_the_same_rows_and_objects_and_leaves_nothing(yard: Yard) -> None:
    before = set(yard.project.iterdir())
    answer = yard.run("backup", "rehearse", str(yard.project), "-i", str(yard.identity), "--json")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    report = json.loads(answer.stdout)
    assert report["problems"] == []
    assert report["tables"] > 50
    assert report["objects"] == 2  # one came when the others had been copied already
    assert set(yard.project.iterdir()) == before


def test_verify_finds_a_changed_byte_and_a_missing_file(spare_target: Yard) -> None:
    shelf = spare_target.shelf()
    [manifest] = list_backups(shelf)
    assert verify_backup(shelf, manifest, lambda _: None).problems == []
    base = spare_target.target / manifest.files["base"][0].name
    data = bytearray(base.read_bytes())
    data[len(data) // 2] ^= 1
    base.write_bytes(data)
    next((spare_target.target / "objects").rglob("*.age")).unlink()
    problems = verify_backup(shelf, manifest, lambda _: None).problems
    assert any("its checksum differs" in problem for problem in problems)


def test_a_gap_in_the_archived_log_is_found_and_refused(spare_target: Yard) -> None:
    shelf = spare_target.shelf()
    log = list_backups(shelf)[-1].log
    assert log is not None
    archive = WalShelf.of_system(shelf, log.system_id)
    end = max(stored.piece.end for stored in archive.list())
    archive.put(Piece(log.timeline, end + 1000, end + 2000), bytes(1000))
    problems = verify_backup(shelf, list_backups(shelf)[-1], lambda _: None).problems
    assert any("lacks" in problem for problem in problems)


def test_an_interrupted_backup_is_not_listed(spare_target: Yard) -> None:
    shelf = spare_target.shelf()
    [manifest] = list_backups(shelf)
    half = spare_target.target / "backups" / "20301231T000000Z-abcdef"
    shutil.copytree(spare_target.target / "backups" / manifest.id, half)
    next(half.glob("manifest.*")).unlink()
    assert [one.id for one in list_backups(shelf)] == [manifest.id]


@pytest.mark.long
def test_a_destroyed_project_comes_back_as_it_was_at_a_moment_and_then_to_its_last_write(yard: Yard) -> None:
    key = ("-i", str(yard.identity))
    shutil.rmtree(yard.project / "supabase")  # as on a new machine
    (yard.project / ".env").unlink()
    answer = yard.run("backup", "restore", str(yard.project), "--to", yard.moment, *key, "--json")
    assert answer.returncode == 0, answer.stderr
    assert (yard.project / "supabase" / "migrations" / "1_notes.sql").read_text() == MIGRATION
    assert (yard.project / ".env").read_text() == ENV
    assert (yard.project / ".env").stat().st_mode & 0o077 == 0
    assert json.loads(answer.stdout)["missing_objects"] == 0
    server = yard.start()
    try:
        with service_client(server) as client:
            assert read_notes(client) == yard.before
            refreshed = client.post(
                "/auth/v1/token",
                params={"grant_type": "refresh_token"},
                json={"refresh_token": yard.refresh_token},
            )
            assert refreshed.status_code == 200, refreshed.text
        settings = yard.settings
        conninfo = load_access(settings.state_dir).conninfo("supabase_admin")
        assert load_secrets(conninfo, load_sealer(settings.state_dir, None)) == {
            "STRIPE_KEY": "function value"
        }
        with psycopg.connect(server.database_url) as connection:
            secret = connection.execute("select decrypted_secret from vault.decrypted_secrets").fetchone()
            assert secret == ("vault value",)
        dumped = yard.run(
            "db", "dump", str(yard.project), "--data-only", "-f", str(yard.project / "data.sql")
        )
        assert dumped.returncode == 0, dumped.stderr
        assert (yard.project / "data.sql").stat().st_mode & 0o077 == 0  # it holds hashes of passwords
        refused = yard.run("backup", "restore", str(yard.project), *key)
        assert refused.returncode == 1
        assert "--force" in refused.stderr
        for wrong in (
            ["--backup", "20000101T000000Z-000000"],
            ["--to", "2999-01-01"],
            ["--target", "ftp://x"],
        ):
            refused = yard.run("backup", "restore", str(yard.project), "--force", *key, *wrong)
            assert refused.returncode != 0
            assert server.process.poll() is None  # what is not there stops no project
        forced = yard.run(
            "backup", "restore", str(yard.project), "--timeline", "1", "--force", *key, "--json"
        )
        assert forced.returncode == 0, forced.stderr
        assert Path(json.loads(forced.stdout)["aside"]).is_dir()
    finally:
        if server.process.poll() is None:
            server.stop()
        server.close_output()
    again = yard.start()
    try:
        with service_client(again) as client:
            assert read_notes(client) == yard.after
    finally:
        again.stop()
