"""`[storage.buckets.NAME]`: made at every start, filled with the seeds, wrong ones told before anything happens."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from basalt.config import ConfigError, Settings, load_settings
from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess
from basalt.project import migrate, reset
from basalt.storage import check_bucket_settings, check_project, ensure_buckets
from tests.projects import write_project

pytestmark = pytest.mark.req("P8")

BUCKETS = """
[storage]
file_size_limit = "1MiB"
[storage.buckets.avatars]
public = true
file_size_limit = "100KiB"
allowed_mime_types = ["image/png", "image/webp", "text/*"]
objects_path = "./avatars"
[storage.buckets.plain]
"""
FILES = {
    "avatars/logo.png": "png",
    "avatars/deep/er/photo.webp": "webp",
    "avatars/notes.txt": "notes " * 1000,
    "avatars/empty.md": "",
}

Row = dict[str, Any]


@pytest.fixture
def rows(database: DatabaseAccess) -> Iterator[psycopg.Connection[Row]]:
    with psycopg.connect(
        database.conninfo("supabase_admin"), autocommit=True, row_factory=dict_row
    ) as connection:
        yield connection


def project(folder: Path, config: str, **files: str) -> Settings:
    return load_settings(write_project(folder, {"config.toml": config, **files}), {})


def buckets(rows: psycopg.Connection[Row]) -> dict[str, Row]:
    found = rows.execute(
        "select id, public, file_size_limit, allowed_mime_types, updated_at from storage.buckets"
    )
    return {row.pop("id"): row for row in found}


def test_buckets_are_made_and_filled_once(
    database: DatabaseAccess, rows: psycopg.Connection[Row], tmp_path: Path
) -> None:
    settings, told = project(tmp_path / "project", BUCKETS, **FILES), list[str]()
    migrate(database, settings, on_progress=told.append)
    made = buckets(rows)
    assert made["avatars"]["public"] is True
    assert made["avatars"]["file_size_limit"] == 100 * 1024
    assert made["avatars"]["allowed_mime_types"] == ["image/png", "image/webp", "text/*"]
    assert (made["plain"]["public"], made["plain"]["file_size_limit"]) == (False, None)
    assert told == [
        "Setting up bucket avatars",
        "Setting up bucket plain",
        "Putting 4 files into bucket avatars",
    ]

    objects = {row["name"]: row for row in rows.execute("select * from storage.objects")}
    assert {name: row["metadata"]["mimetype"] for name, row in objects.items()} == {
        "logo.png": "image/png",
        "deep/er/photo.webp": "image/webp",
        "notes.txt": "text/plain",
        "empty.md": "text/markdown",
    }
    notes = objects["notes.txt"]
    assert notes["metadata"]["size"] == notes["metadata"]["contentLength"] == 6000
    assert (notes["owner_id"], notes["user_metadata"]) == (None, {})
    report = check_project(settings, database, checksums=True)
    assert (report.objects, report.differences) == (4, [])

    told.clear()
    migrate(database, settings, on_progress=told.append)
    assert (told, buckets(rows)) == ([], made)
    again = {row["name"]: row for row in rows.execute("select * from storage.objects")}
    assert again == objects


def test_what_the_settings_do_not_name_stays(
    database: DatabaseAccess, rows: psycopg.Connection[Row], tmp_path: Path
) -> None:
    rows.execute(
        "insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types) values "
        "('avatars', 'avatars', true, 7, '{a/b}'), ('other', 'other', true, 7, '{a/b}')"
    )
    before = buckets(rows)
    ensure_buckets(project(tmp_path / "one", "[storage.buckets.avatars]"), database)
    assert buckets(rows) == before
    named = "[storage.buckets.avatars]\npublic = false\nfile_size_limit = 9"
    ensure_buckets(project(tmp_path / "two", named), database)
    after = buckets(rows)
    assert after["other"] == before["other"]
    assert (after["avatars"]["public"], after["avatars"]["file_size_limit"]) == (False, 9)
    assert after["avatars"]["allowed_mime_types"] == ["a/b"]
    assert after["avatars"]["updated_at"] > before["avatars"]["updated_at"]


def test_without_seeds_buckets_stay_empty(
    database: DatabaseAccess, rows: psycopg.Connection[Row], tmp_path: Path
) -> None:
    config = BUCKETS + "\n[db.seed]\nenabled = false\n"
    ensure_buckets(project(tmp_path / "project", config, **FILES), database)
    assert set(buckets(rows)) == {"avatars", "plain"}
    assert rows.execute("select from storage.objects").fetchall() == []


def test_files_that_could_not_be_stored_are_tried_again(
    database: DatabaseAccess, rows: psycopg.Connection[Row], tmp_path: Path
) -> None:
    settings = project(tmp_path / "project", BUCKETS, **FILES)
    rows.execute(
        "create function public.refuse() returns trigger language plpgsql as "
        "$$ begin raise exception 'no notes' ; end $$; create trigger t before insert on storage.objects "
        "for each row when (new.name = 'notes.txt') execute function public.refuse()"
    )
    with pytest.raises(BasaltError, match=r"notes.txt cannot be put into bucket avatars: .*no notes"):
        ensure_buckets(settings, database)
    rows.execute("drop trigger t on storage.objects")
    ensure_buckets(settings, database)
    assert len(rows.execute("select from storage.objects").fetchall()) == 4


def test_a_reset_fills_them_again(
    database: DatabaseAccess, rows: psycopg.Connection[Row], tmp_path: Path
) -> None:
    settings = project(tmp_path / "project", BUCKETS, **FILES)
    migrate(database, settings)
    rows.execute("select set_config('storage.allow_delete_query', 'true', false)")
    rows.execute("delete from storage.objects")
    rows.close()
    reset(database, settings)
    assert check_project(settings, database).objects == 4


def test_a_name_that_another_bucket_has_is_told(
    database: DatabaseAccess, rows: psycopg.Connection[Row], tmp_path: Path
) -> None:
    rows.execute("insert into storage.buckets (id, name) values ('pictures', 'avatars')")
    with pytest.raises(BasaltError, match="Bucket avatars of the settings cannot be made"):
        ensure_buckets(project(tmp_path / "project", "[storage.buckets.avatars]"), database)


@pytest.mark.parametrize(
    ("config", "files", "expected"),
    [
        ('[storage.buckets."a/b"]', {}, "storage.buckets.a/b: this is no name for a bucket"),
        (
            "[storage.buckets.b]\nobjects_path = './none'",
            {},
            "storage.buckets.b.objects_path: there is no folder",
        ),
        (
            "[storage.buckets.b]\nfile_size_limit = '1GiB'",
            {},
            "storage.buckets.b.file_size_limit: it is above",
        ),
        ("[storage.buckets.b]\nallowed_mime_types = ['png']", {}, "b.allowed_mime_types: mime type png"),
        ("[storage.buckets.b]\nobjects_path = 'f'", {"f/ümlaut.txt": ""}, "cannot be the name of an object"),
        (
            "[storage.buckets.b]\nobjects_path = 'f'\nfile_size_limit = 2",
            {"f/a.txt": "abc"},
            "the bucket takes 2",
        ),
        (
            "[storage.buckets.b]\nobjects_path = 'f'\nallowed_mime_types = ['image/*']",
            {"f/a.txt": "abc"},
            "is text/plain, which the bucket does not take",
        ),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_changed(
    database: DatabaseAccess, tmp_path: Path, config: str, files: dict[str, str], expected: str
) -> None:
    migration = {"20260101000000_a.sql": "create table public.a ()"}
    settings = project(tmp_path / "project", config, **files, **migration)
    with pytest.raises(ConfigError) as caught:
        check_bucket_settings(settings)
    assert expected in str(caught.value)
    for change in (migrate, reset):
        with pytest.raises(ConfigError):
            change(database, settings)
    with psycopg.connect(database.conninfo("supabase_admin")) as connection:
        assert connection.execute("select to_regclass('public.a')").fetchone() == (None,)


def test_an_object_store_needs_its_settings(tmp_path: Path) -> None:
    config = """
[basalt.storage]
backend = "s3"
[basalt.storage.s3]
endpoint = "localhost:9000"
access_key_id = "key"
prefix = "/a//b"
"""
    with pytest.raises(ConfigError) as caught:
        project(tmp_path / "project", config)
    keys = {problem.key.rpartition(".")[2] for problem in caught.value.problems}
    assert keys == {"bucket", "endpoint", "access_key_id", "prefix"}
    assert all(problem.key.startswith("basalt.storage.s3.") for problem in caught.value.problems)
