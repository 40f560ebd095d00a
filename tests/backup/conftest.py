"""A running project whose log is archived, and how it is destroyed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psycopg
import pytest
from pyrage import x25519

from basalt.access import load_sealer, store_secrets
from basalt.config import Settings, load_settings
from basalt.postgres import load_access
from basalt.postgres.backup import parse_lsn
from basalt.postgres.postmaster import read_postmaster
from basalt.project.backup import Manifest, Place, create_backup, open_place
from basalt.project.backup.files import Shelf
from basalt.project.backup.wal_shelf import WalShelf
from tests.projects import write_project
from tests.server import Server, open_to_postgres, start_server

MIGRATION = """
create table public.notes (id bigint generated always as identity primary key, body text not null);
grant all on public.notes to service_role;
select vault.create_secret('vault value', 'vault_name');
"""
ENV = "STRIPE_KEY=of-the-machine\n"


@dataclass
class Yard:
    """A project with one backup and an archive behind it. `before` and `after` are what was written on either side of
    `moment`, all of it acknowledged."""

    project: Path
    target: Path
    environ: dict[str, str]
    identity: Path
    refresh_token: str = ""
    moment: str = ""
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return load_settings(self.project, self.environ)

    def shelf(self) -> Shelf:
        return open_place(self.settings, Place(identity_file=self.identity))

    def back_up(self, tell: Callable[[str], None] = lambda _: None) -> Manifest:
        settings = self.settings
        shelf = open_place(settings, Place(identity_file=self.identity), may_write=True)
        return create_backup(settings, load_access(settings.state_dir), shelf, tell)

    def start(self) -> Server:
        return start_server(self.project, **self.environ)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`basalt …`."""
        return subprocess.run(
            [sys.executable, "-c", "from basalt.cli import main; main()", *arguments],
            env={**os.environ, **self.environ},
            capture_output=True,
            text=True,
            timeout=110,
        )


def write_note(client: httpx2.Client, body: str) -> None:
    """A row and an object of the same name; both are acknowledged."""
    client.post("/rest/v1/notes", json={"body": body}).raise_for_status()
    client.post(f"/storage/v1/object/box/{body}", content=body.encode() * 100).raise_for_status()


def read_notes(client: httpx2.Client) -> list[str]:
    """The bodies of all rows. Each has its object with its bytes, and there is no other one."""
    rows = client.get("/rest/v1/notes", params={"order": "id"}).raise_for_status().json()
    bodies = [row["body"] for row in rows]
    listed = client.post("/storage/v1/object/list/box", json={"prefix": "", "limit": 1000}).raise_for_status()
    assert {entry["name"] for entry in listed.json()} == set(bodies)
    for body in bodies:
        content = client.get(f"/storage/v1/object/box/{body}").raise_for_status().content
        assert content == body.encode() * 100
    return bodies


def service_client(server: Server) -> httpx2.Client:
    return server.client(server.service_role_key, server.service_role_key)


def now_of(server: Server) -> str:
    """The database's clock, past everything that was committed."""
    with psycopg.connect(server.database_url) as connection:
        row = connection.execute("select clock_timestamp()").fetchone()
        assert row is not None
        return str(row[0].isoformat())


def wait_archived(yard: Yard) -> None:
    """Until everything that was committed so far is at the target."""
    access = load_access(yard.settings.state_dir)
    with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as connection:
        row = connection.execute(
            "select pg_current_wal_flush_lsn(), system_identifier from pg_control_system()"
        )
        position, system_id = row.fetchone() or ("0/0", 0)
    shelf = WalShelf.of_system(yard.shelf(), str(system_id))
    deadline = time.monotonic() + 60
    while max((stored.piece.end for stored in shelf.list()), default=0) < parse_lsn(position):
        assert time.monotonic() < deadline, "the log was not archived in time"
        time.sleep(0.1)


def destroy(yard: Yard, server: Server) -> None:
    """`kill -9` of everything, and the state is gone."""
    postmaster = read_postmaster(yard.project / ".basalt" / "postgres" / "data")
    server.process.kill()
    if postmaster is not None:
        os.kill(postmaster.pid, signal.SIGKILL)
    server.process.wait()
    server.close_output()
    shutil.rmtree(yard.project / ".basalt")


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """Written to before and after a moment, then destroyed."""
    folder = open_to_postgres(tmp_path_factory.mktemp("yard"))
    yard, server = start_yard(folder, str(folder / "backups"))
    try:
        with service_client(server) as client:
            client.post("/storage/v1/bucket", json={"id": "box", "name": "box"}).raise_for_status()
            signed_up = client.post(
                "/auth/v1/signup", json={"email": "a@example.org", "password": "password1"}
            )
            yard.refresh_token = signed_up.raise_for_status().json()["refresh_token"]
            access = load_access(yard.settings.state_dir)
            sealer = load_sealer(yard.settings.state_dir, None)
            store_secrets(access.conninfo("supabase_admin"), sealer, {"STRIPE_KEY": "function value"})
            (yard.project / ".env").write_text(ENV)
            write_note(client, "before-the-backup")
            meanwhile = iter(["while-the-database-is-copied"])

            def write_meanwhile(step: str) -> None:
                if step.startswith("Database"):
                    for body in meanwhile:
                        write_note(client, body)

            yard.back_up(write_meanwhile)
            for number in range(3):
                write_note(client, f"behind-it-{number}")
            yard.before = read_notes(client)
            yard.moment = now_of(server)
            write_note(client, "after-the-moment")
            client.delete("/storage/v1/object/box/behind-it-0").raise_for_status()
            client.delete("/rest/v1/notes", params={"body": "eq.behind-it-0"}).raise_for_status()
            yard.after = read_notes(client)
        wait_archived(yard)
        destroy(yard, server)
        yield yard
    finally:
        if server.process.poll() is None:
            server.stop()


def start_yard(folder: Path, target: str, **overrides: str) -> tuple[Yard, Server]:
    """A new project that archives to `target`, sealed to a key of its own. The worker never has the secret half."""
    key = x25519.Identity.generate()
    identity = folder / "key.txt"
    identity.write_text(f"{key}\n")
    environ = {
        "BASALT_WORKER_MODE": "process",
        "BASALT_BACKUP_TARGET": target,
        "BASALT_BACKUP_RECIPIENTS": str(key.to_public()),
        "BASALT_BACKUP_WAL_INTERVAL": "0.2",
        **overrides,
    }
    project = write_project(folder / "yard", {"1_notes.sql": MIGRATION})
    server = start_server(project, **environ)
    kept = {name: text for name, text in server.environ.items() if name.startswith(("BASALT_", "SUPABASE_"))}
    return Yard(project, Path(target), kept, identity), server
