"""Bytes that no row names any more go after a while; all others stay."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors, sql

from basalt.config import StorageSettings, UploadHookSettings
from basalt.postgres import DatabaseAccess
from basalt.storage.collector import Ages, collect, configured_ages
from basalt.storage.names import new_version
from basalt.storage.orphans import Swept, sweep_in_turn
from tests.storage.contents import pieces
from tests.storage.engines import Depository, open_depository

pytestmark = pytest.mark.req("P8")

NOW = Ages(deleted_s=0, multipart_s=0, orphan_s=-1)
LATER = Ages(deleted_s=3600, multipart_s=3600, orphan_s=3600)


@pytest.fixture
async def depository(database: DatabaseAccess, tmp_path: Path) -> AsyncIterator[Depository]:
    async with open_depository(database, tmp_path / "store") as opened:
        yield opened


async def test_deleted_and_replaced_objects_lose_their_bytes_after_a_while(depository: Depository) -> None:
    deleted, replaced, kept = [await depository.add(name) for name in ("deleted", "replaced", "kept")]
    depository.remove("deleted")
    new = await depository.add("replaced", b"new")
    assert depository.garbage() == {deleted, replaced}

    assert (await collect(depository.db, depository.store, LATER)).deleted == 0
    assert depository.kept() == {deleted, replaced, kept, new}

    dry = await collect(depository.db, depository.store, NOW, is_dry=True)
    assert (dry.deleted, depository.kept()) == (2, {deleted, replaced, kept, new})

    assert (await collect(depository.db, depository.store, NOW)).deleted == 2
    assert (depository.kept(), depository.garbage()) == ({kept, new}, set())


async def test_changes_that_keep_the_version_make_no_garbage(depository: Depository) -> None:
    version = await depository.add("file")
    depository.rows.execute("update storage.objects set last_accessed_at = now(), name = 'other'")
    depository.rows.execute("update storage.objects set id = gen_random_uuid()")
    assert depository.garbage() == set()
    await collect(depository.db, depository.store, NOW)
    assert depository.kept() == {version}


async def test_what_is_rolled_back_was_never_garbage(depository: Depository) -> None:
    version = await depository.add("file")
    with depository.rows.transaction(force_rollback=True):
        depository.rows.execute("update storage.objects set version = 'new'")
        depository.remove("file")
        assert depository.garbage() == {version, "new"}
    assert depository.garbage() == set()


async def test_a_row_that_came_back_keeps_its_bytes(depository: Depository) -> None:
    version = await depository.add("file")
    depository.rows.execute(
        "create table dump as select id, bucket_id, name, version, metadata from storage.objects"
    )
    depository.remove("file")
    depository.rows.execute(
        "insert into storage.objects (id, bucket_id, name, version, metadata) select * from dump"
    )
    assert (await collect(depository.db, depository.store, NOW)).deleted == 0
    assert (depository.kept(), depository.garbage()) == ({version}, set())
    depository.remove("file")  # and goes like any other one when it is deleted again
    assert (await collect(depository.db, depository.store, NOW)).deleted == 1
    assert depository.kept() == set()


async def test_a_version_of_two_rows_stays_until_both_are_gone(depository: Depository) -> None:
    version = await depository.add("one")
    depository.rows.execute(
        "insert into storage.objects (bucket_id, name, version) select bucket_id, 'two', version from storage.objects"
    )
    for name, left in (("one", {version}), ("two", set())):
        depository.remove(name)
        await collect(depository.db, depository.store, NOW)
        assert depository.kept() == left


async def test_versions_that_somebody_made_up_do_no_harm(depository: Depository) -> None:
    outside = depository.folder / "precious"
    outside.write_text("precious")
    for number, version in enumerate(("../../precious", "", "a/b", "x" * 5000, "%")):
        depository.rows.execute(
            "insert into storage.objects (bucket_id, name, version) values ('box', %s, %s)",
            [f"odd{number}", version],
        )
    depository.rows.execute("insert into storage.objects (bucket_id, name) values ('box', 'none')")
    with depository.rows.transaction():
        depository.rows.execute("select set_config('storage.allow_delete_query', 'true', true)")
        depository.rows.execute("delete from storage.objects")
    assert (await collect(depository.db, depository.store, NOW)).deleted == 5
    assert (depository.garbage(), outside.read_text()) == (set(), "precious")


async def test_bytes_that_never_got_a_row_are_noted_and_then_go(depository: Depository) -> None:
    kept, orphan = await depository.add("kept"), new_version()
    await depository.store.put(orphan, pieces(b"x"), limit=1)
    (depository.folder / "incoming" / "half").write_bytes(b"half")
    assert await collect(depository.db, depository.store, LATER, is_dry=True) == await collect(
        depository.db, depository.store, LATER
    )
    assert depository.garbage() == set()

    noted = Ages(deleted_s=3600, multipart_s=3600, orphan_s=-1)
    assert (await collect(depository.db, depository.store, noted, is_dry=True)).orphans == 1
    assert list((depository.folder / "incoming").iterdir())
    assert (await collect(depository.db, depository.store, noted)).orphans == 1
    assert (depository.garbage(), depository.kept()) == ({orphan}, {kept, orphan})
    assert not list((depository.folder / "incoming").iterdir())

    await collect(depository.db, depository.store, NOW)
    assert (depository.garbage(), depository.kept()) == (set(), {kept})


async def test_uploads_that_nobody_knows_are_discarded(depository: Depository) -> None:
    known, unknown = new_version(), new_version()
    for upload in (known, unknown):
        await depository.store.put_part(upload, 1, pieces(b"x"), limit=1)
    depository.rows.execute(
        "insert into storage.s3_multipart_uploads (id, upload_signature, bucket_id, key, version) "
        "values (%s, '', 'box', 'key', %s)",
        [known, new_version()],
    )
    ages = Ages(deleted_s=0, multipart_s=3600, orphan_s=-1)
    assert (await collect(depository.db, depository.store, ages)).abandoned_uploads == 1
    assert len(await depository.store.list_parts(known)) == 1
    assert await depository.store.list_parts(unknown) == []


async def test_multipart_uploads_are_aborted_after_a_while(depository: Depository) -> None:
    old, young = new_version(), new_version()
    for upload, age in ((old, "8 days"), (young, "1 day"), ("odd/../id", "9 days")):
        depository.rows.execute(
            "insert into storage.s3_multipart_uploads (id, upload_signature, bucket_id, key, version, created_at) "
            "values (%s, '', 'box', 'key', 'v', now() - %s::interval)",
            [upload, age],
        )
    for upload in (old, young):
        await depository.store.put_part(upload, 1, pieces(b"x"), limit=1)
    collected = await collect(depository.db, depository.store, configured_ages(StorageSettings()))
    assert collected.expired_uploads == 2
    assert await depository.store.list_parts(old) == []
    assert len(await depository.store.list_parts(young)) == 1
    left = depository.rows.execute("select id from storage.s3_multipart_uploads").fetchall()
    assert left == [(young,)]


async def test_several_collectors_at_once_take_everything_once(
    depository: Depository, database: DatabaseAccess
) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(150):
            group.create_task(depository.add(f"gone{number}"))
    kept = {await depository.add(f"kept{number}") for number in range(10)}
    with depository.rows.transaction():
        depository.rows.execute("select set_config('storage.allow_delete_query', 'true', true)")
        depository.rows.execute("delete from storage.objects where starts_with(name, 'gone')")
    collected = await asyncio.gather(*(collect(depository.db, depository.store, NOW) for _ in range(6)))
    assert sum(one.deleted for one in collected) >= 150
    assert (depository.kept(), depository.garbage()) == (kept, set())


async def test_the_sweep_is_one_process_s_and_not_of_an_empty_database(depository: Depository) -> None:
    orphan = new_version()
    await depository.store.put(orphan, pieces(b"x"), limit=1)
    assert await sweep_in_turn(depository.db, depository.store, -1) == Swept()
    assert depository.garbage() == set()  # it may be the wrong database
    await depository.add("kept")
    depository.rows.execute("update basalt.storage_sweeps set active_at = now() - interval '2 hours'")
    swept = await asyncio.gather(*(sweep_in_turn(depository.db, depository.store, -1) for _ in range(4)))
    assert sorted(one.orphans for one in swept) == [0, 0, 0, 1]
    assert depository.garbage() == {orphan}


def test_bytes_wait_for_the_upload_hook() -> None:
    hook = UploadHookSettings(timeout_s=900)
    assert configured_ages(StorageSettings(orphan_age_s=60, upload_hook=hook)).orphan_s > 900
    assert configured_ages(StorageSettings()).orphan_s == StorageSettings().orphan_age_s


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role", "authenticator"])
def test_nobody_else_reads_or_writes_what_is_noted(database: DatabaseAccess, role: str) -> None:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
        for table in ("storage_garbage", "storage_sweeps", "seeded_buckets"):
            for statement in ("select from {}", "delete from {}", "insert into {} default values"):
                with pytest.raises(errors.InsufficientPrivilege):
                    connection.execute(sql.SQL(statement).format(sql.Identifier("basalt", table)))


def test_the_triggers_cannot_be_put_to_other_tables(database: DatabaseAccess) -> None:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute("grant create on schema public to service_role; set role service_role")
        connection.execute("create table public.bait (version text)")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(
                "create trigger t after delete on public.bait referencing old table as old_rows "
                "for each statement execute function storage.note_deleted_versions()"
            )


def test_a_caller_s_own_deletes_are_noted(database: DatabaseAccess) -> None:
    owner, version = str(uuid4()), new_version()
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute("insert into storage.buckets (id, name) values ('own', 'own')")
        connection.execute(
            "create policy p on storage.objects for all to authenticated using (owner_id = auth.uid()::text)"
        )
        connection.execute(
            "insert into storage.objects (bucket_id, name, version, owner_id) values ('own', 'a', %s, %s)",
            [version, owner],
        )
        with connection.transaction():
            connection.execute("set local role authenticated")
            connection.execute(
                "select set_config('request.jwt.claims', %s, true)", [json.dumps({"sub": owner})]
            )
            connection.execute("select set_config('storage.allow_delete_query', 'true', true)")
            connection.execute("delete from storage.objects")
        assert connection.execute("select version from basalt.storage_garbage").fetchall() == [(version,)]
