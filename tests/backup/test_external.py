"""Dumps of an external database as backups: one at a time, whole or not at all, and back into a server's database."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from basalt.config import BackupSettings, Settings
from basalt.postgres import DatabaseAccess, access_from_url, apply_bootstrap
from basalt.project.backup import (
    BackupError,
    Envelope,
    create_backup,
    list_backups,
    rehearse_backup,
    restore_dump,
)
from basalt.project.backup.files import Shelf
from basalt.project.backup.objects import list_object_files
from basalt.project.backup.records import connect, only_one
from basalt.project.backup.target import FolderTarget
from basalt.storage import open_store
from tests.conftest import CloneDatabase
from tests.postgres.test_bootstrap import managed_url
from tests.projects import settings_of, write_project

__all__ = ["managed_url"]  # a fixture

pytestmark = pytest.mark.req("P26")


def quiet(_: str) -> None:
    return None


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = settings_of(write_project(tmp_path / "project", {}))
    backup = BackupSettings(target=str(tmp_path / "kept"), checksums=False)
    return replace(found, basalt=replace(found.basalt, backup=backup))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    target = FolderTarget(tmp_path / "kept")
    target.open(may_write=True)
    return Shelf(target, Envelope([], [], target.place))


@pytest.fixture
def external(database: DatabaseAccess, settings: Settings) -> DatabaseAccess:
    access = external_of(database, settings)
    with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute("create table public.notes as select n from generate_series(1, 500) n")
        for line in (
            "alter database {} set app.settings.colour to 'it''s blue'",
            'alter database {} set search_path to "$user", public, "My Schema"',
            "alter role service_role in database {} set statement_timeout to '7s'",
        ):
            connection.execute(sql.SQL(line).format(sql.Identifier(access.dbname)))  # type: ignore[arg-type]
    return access


def external_of(access: DatabaseAccess, settings: Settings) -> DatabaseAccess:
    return access_from_url(access.url("supabase_admin"), settings.state_dir)


def ask(access: DatabaseAccess, question: str) -> object:
    with psycopg.connect(access.conninfo("supabase_admin")) as connection:
        row = connection.execute(question.encode()).fetchone()
        assert row is not None
        return row[0]


def drop(access: DatabaseAccess, *names: str) -> None:
    with psycopg.connect(access.conninfo("supabase_admin", "postgres"), autocommit=True) as connection:
        for name in names:
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )


def test_a_database_that_is_missing_is_made_with_what_was_set_for_it(
    external: DatabaseAccess, settings: Settings, shelf: Shelf
) -> None:
    manifest = create_backup(settings, external, shelf, quiet)
    other = external.with_dbname(f"{external.dbname}_anew")
    try:
        assert restore_dump(settings, other, shelf, manifest, quiet, force=False) == (0, 0, None)
        assert ask(other, "select count(*) from public.notes") == 500
        assert ask(other, "select current_setting('app.settings.colour')") == "it's blue"
        kept = (
            "select array(select coalesce(r.rolname, '') || ': ' || c from pg_db_role_setting as s "
            "left join pg_roles as r on r.oid = s.setrole cross join unnest(s.setconfig) as c "
            "where s.setdatabase = (select oid from pg_database where datname = current_database()) order by 1)"
        )
        assert ask(other, kept) == ask(external, kept)
        assert ': search_path="$user", public, "My Schema"' in str(ask(other, kept))
    finally:
        drop(external, other.dbname)


def test_an_object_that_comes_when_the_others_were_copied_has_its_bytes(
    external: DatabaseAccess, settings: Settings, shelf: Shelf
) -> None:
    version = "0a5c1e7e-0000-4000-8000-000000000001"

    async def put_bytes() -> None:
        async with open_store(settings) as store:
            await store.put(version, one_block(), limit=4)

    async def one_block() -> AsyncIterator[bytes]:
        yield b"data"

    def upload(step: str) -> None:
        if not step.startswith("Objects"):
            return
        with ThreadPoolExecutor(1) as elsewhere:  # here a loop runs already
            elsewhere.submit(asyncio.run, put_bytes()).result()
        with psycopg.connect(external.conninfo("supabase_admin"), autocommit=True) as connection:
            connection.execute("insert into storage.buckets (id, name) values ('box', 'box')")
            connection.execute(
                "insert into storage.objects (bucket_id, name, version, metadata) values ('box', 'a', %s, %s)",
                [version, '{"size": 4}'],
            )

    manifest = create_backup(settings, external, shelf, upload)

    assert (manifest.object_count, manifest.missing_objects) == (1, 0)
    assert list_object_files(shelf)[version].missing == []


def test_a_restore_that_fails_gives_the_earlier_database_its_name_back(
    external: DatabaseAccess,
    settings: Settings,
    shelf: Shelf,
    template: DatabaseAccess,
    clone_database: CloneDatabase,
) -> None:
    manifest = create_backup(settings, external, shelf, quiet)
    shelf.target.delete([manifest.files["dump"][0].name])
    with clone_database(template.dbname) as occupied:
        elsewhere = external_of(occupied, settings)
        with psycopg.connect(elsewhere.conninfo("supabase_admin"), autocommit=True) as connection:
            connection.execute("create table public.mine ()")
        with pytest.raises(BackupError) as refusal:
            restore_dump(settings, elsewhere, shelf, manifest, quiet, force=False)
        assert refusal.value.code == "restore_refused"
        with pytest.raises(BackupError, match="it is missing"):
            restore_dump(settings, elsewhere, shelf, manifest, quiet, force=True)
        assert ask(elsewhere, "select to_regclass('public.mine') is not null") is True
        left = f"select count(*) from pg_database where datname like '{elsewhere.dbname}\\_before%'"
        assert ask(elsewhere, left) == 0


def test_one_backup_is_made_at_a_time(external: DatabaseAccess, settings: Settings, shelf: Shelf) -> None:
    with connect(external) as connection, only_one(connection):
        with pytest.raises(BackupError) as refusal:
            create_backup(settings, external, shelf, quiet)
        assert refusal.value.code == "backup_running"
    assert list(shelf.target.list("")) == []


def test_a_backup_that_is_told_to_end_leaves_no_file_and_a_record(
    external: DatabaseAccess, settings: Settings, shelf: Shelf
) -> None:
    def end(text: str) -> None:
        if text.startswith("Reading the tables"):
            raise BackupError("backup_interrupted")

    with pytest.raises(BackupError, match="was stopped"):
        create_backup(settings, external, shelf, end)
    assert list(shelf.target.list("")) == []
    assert list_backups(shelf) == []
    assert ask(external, "select state || ': ' || error from basalt.backups") == (
        "failed: The project was stopped while its backup was made"
    )


def test_a_managed_server_is_dumped_by_an_owner_who_is_no_superuser(
    managed_url: str,
    settings: Settings,
    shelf: Shelf,
) -> None:
    access = access_from_url(managed_url, settings.state_dir)
    apply_bootstrap(access)
    with psycopg.connect(access.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("create table public.notes as select n from generate_series(1, 500) n")
        connection.execute("alter table public.notes enable row level security")
        connection.execute("insert into auth.users (id, email) values (gen_random_uuid(), 'ada@example.org')")
    manifest = create_backup(settings, access, shelf, quiet)
    other = access.with_dbname("anew")
    assert restore_dump(settings, other, shelf, manifest, quiet, force=False) == (0, 0, None)
    assert ask(other, "select count(*) from public.notes") == 500
    assert ask(other, "select email from auth.users") == "ada@example.org"
    rehearsed = rehearse_backup(settings, shelf, manifest, quiet)
    assert rehearsed.problems == []  # although supabase_admin may not log in on that server
