"""Rows and bytes are compared: what is missing, too much or different is found, and nothing else."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from basalt.postgres import DatabaseAccess
from basalt.storage import check
from basalt.storage.check import Difference, check_store
from basalt.storage.names import new_version
from tests.storage.contents import pieces
from tests.storage.engines import Depository, open_depository

pytestmark = pytest.mark.req("P8")


@pytest.fixture
async def depository(database: DatabaseAccess, tmp_path: Path) -> AsyncIterator[Depository]:
    async with open_depository(database, tmp_path / "store") as opened:
        yield opened


def path_of(depository: Depository, version: str) -> Path:
    return depository.folder / "objects" / version[:2] / version


async def test_what_agrees_is_not_reported(depository: Depository) -> None:
    for number in range(30):
        await depository.add(f"file{number}", b"x" * number)
    depository.remove("file3")  # noted as garbage: in order
    depository.rows.execute(
        "insert into storage.objects (bucket_id, name, version, metadata) "
        "select bucket_id, 'second', version, metadata from storage.objects where name = 'file4'"
    )
    report = await check_store(depository.db, depository.store, checksums=True)
    assert (report.objects, report.stored, report.differences) == (30, 30, [])


async def test_every_kind_of_difference_is_found(depository: Depository) -> None:
    versions = {name: await depository.add(name) for name in ("fine", "lost", "cut", "torn", "parts")}
    path_of(depository, versions["lost"]).unlink()
    path_of(depository, versions["cut"]).write_bytes(b"hell")
    path_of(depository, versions["torn"]).write_bytes(b"hellO")
    path_of(depository, versions["parts"]).write_bytes(b"HELLO")
    depository.rows.execute(
        """update storage.objects set metadata = metadata || '{"eTag": "\\"0123-2\\""}' where name = 'parts'"""
    )
    depository.rows.execute("insert into storage.objects (bucket_id, name) values ('box', 'by SQL')")
    depository.rows.execute(
        "insert into storage.objects (bucket_id, name, version) values ('box', 'odd', '../x'), ('box', 'z', 'zzz')"
    )
    orphan = new_version()
    await depository.store.put(orphan, pieces(b"x"), limit=1)

    report = await check_store(depository.db, depository.store)
    expected = {
        Difference("bytes missing", versions["lost"], "box", "lost"),
        Difference("bytes missing", "", "box", "by SQL"),
        Difference("bytes missing", "../x", "box", "odd"),
        Difference("bytes missing", "zzz", "box", "z"),
        Difference("size differs", versions["cut"], "box", "cut", "row 5, bytes 4"),
        Difference("row missing", orphan),
    }
    assert set(report.differences) == expected
    assert (report.objects, report.stored) == (8, 5)

    deep = await check_store(depository.db, depository.store, checksums=True)
    assert {one.name for one in set(deep.differences) - expected} == {"torn"}


async def test_pages_neither_skip_nor_repeat(depository: Depository) -> None:
    """Also where the order of PostgreSQL's collation decides: versions begin with digits and letters alike."""
    count = check.BATCH + 50
    depository.rows.execute(
        "insert into storage.objects (bucket_id, name, version) "
        "select 'box', n::text, gen_random_uuid()::text from generate_series(1, %s) as n",
        [count],
    )
    listed = [row async for row in check._list_rows(depository.db)]
    assert len(listed) == len({row.id for row in listed}) == count
    assert [row.version for row in listed] == sorted(row.version for row in listed)
    some = random.sample(listed, 40)
    for row in some:
        await depository.store.put(row.version, pieces(b""), limit=0)
    depository.rows.execute("""update storage.objects set metadata = '{"size": 0}'""")
    report = await check_store(depository.db, depository.store)
    assert {one.kind for one in report.differences} == {"bytes missing"}
    assert len(report.differences) == count - len(some)
