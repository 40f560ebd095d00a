"""What a rehearsal finds: every way in which a restored database or its objects may differ from the backup."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from basalt.postgres import DatabaseAccess
from basalt.postgres.backup import digest_database, list_objects
from basalt.project.backup import Envelope
from basalt.project.backup.files import Shelf
from basalt.project.backup.manifest import Contents, Manifest, TableEntry
from basalt.project.backup.rehearse import Rehearsal, compare_database, read_objects
from basalt.project.backup.target import FolderTarget

from .test_retention import add_backup

pytestmark = pytest.mark.req("P26")

VERSION = "0a5c1e7e-0000-4000-8000-000000000001"


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    target = FolderTarget(tmp_path / "backups")
    target.open(may_write=True)
    return Shelf(target, Envelope([], [], target.place))


@pytest.fixture
def manifest(shelf: Shelf) -> Manifest:
    return add_backup(shelf, 0, [])


@pytest.fixture
def connection(database: DatabaseAccess) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute("create table public.notes (id int primary key, body text)")
        connection.execute("insert into public.notes values (1, 'a'), (2, 'b')")
        connection.execute("insert into storage.buckets (id, name) values ('files', 'files')")
        connection.execute(
            "insert into storage.objects (bucket_id, name, version, metadata) values ('files', 'a', %s, %s)",
            [VERSION, '{"size": 4}'],
        )
        yield connection


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        ("select", []),
        ("update public.notes set body = 'c' where id = 2", ["public.notes has other rows than it had"]),
        ("delete from public.notes where id = 2", ["public.notes has 1 rows instead of 2"]),
        ("drop table public.notes", ["public.notes is missing"]),
        ("create table public.more (id int)", ["public.more is not in the backup"]),
        (
            "update storage.objects set version = 'another'",
            [
                "The objects that rows name are not those of the backup",
                "storage.objects has other rows than it had",
            ],
        ),
    ],
    ids=["nothing", "a-row", "a-row-less", "a-table-less", "a-table-more", "an-object"],
)
def test_a_database_that_is_not_what_it_was_is_told(
    database: DatabaseAccess,
    connection: psycopg.Connection,
    manifest: Manifest,
    change: str,
    problems: list[str],
) -> None:
    conninfo = database.conninfo("supabase_admin")
    tables = [
        TableEntry(table.name, table.rows, table.checksum)
        for table in digest_database(conninfo, checksums=True)
        if table.name in ("public.notes", "storage.objects")
    ]
    others = {table.name for table in digest_database(conninfo, checksums=False)} - {
        table.name for table in tables
    }
    contents = Contents(tables=tables, objects=list_objects(connection), stored=[])
    connection.execute(change.encode())
    report = Rehearsal(manifest)

    compare_database(conninfo, contents, report)

    not_listed = {f"{name} is not in the backup" for name in others}
    assert [problem for problem in report.problems if problem not in not_listed] == problems
    assert report.tables_compared == 2


def test_objects_that_are_missing_or_changed_are_told(
    shelf: Shelf, manifest: Manifest, tmp_path: Path
) -> None:
    kept, gone, changed = (f"{VERSION[:-1]}{number}" for number in (1, 2, 3))
    for version in (kept, changed):
        shelf.put(f"objects/{version[:2]}/{version}.4.0", b"data", is_packed=False)
    [file] = (tmp_path / "backups/objects").rglob(f"{changed}*")
    file.write_bytes(b"Data")
    contents = Contents(tables=None, objects=[(version, 4) for version in (kept, gone, changed)], stored=[])
    report = Rehearsal(manifest)

    read_objects(shelf, manifest, contents, report, lambda _: None)

    assert report.objects == 1
    damaged, absent = sorted(report.problems, key=lambda problem: problem.startswith("1 objects"))
    assert "its checksum differs" in damaged
    assert changed in damaged
    assert absent == "1 objects are missing or incomplete"
