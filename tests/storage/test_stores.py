"""Both back ends keep the same promises: one suite, run by each."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from basalt.http import ClientDisconnectedError
from basalt.storage.names import new_version
from basalt.storage.stores import (
    ContentMissingError,
    DiskStore,
    Part,
    S3Store,
    Stored,
    TooLargeError,
)
from tests.storage.contents import content_of, files_below, pieces
from tests.storage.engines import Engine, ObjectStore

MIB = 1024 * 1024
LIMIT = 1 << 30
HOSTILE = ("../x", "", "not-a-uuid", "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}", "a/../../b", "\0")

pytestmark = pytest.mark.req("P8")


@pytest.fixture(params=["disk", "s3"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    if request.param == "disk":
        disk = Engine("disk", DiskStore(tmp_path / "store"), lambda: files_below(tmp_path / "store"))
    else:
        server: ObjectStore = request.getfixturevalue("object_store")
        prefix = f"{uuid4()}/"
        store = S3Store(server.settings(prefix))
        disk = Engine("s3", store, lambda: server.names(prefix))
    await disk.store.open()
    yield disk
    await disk.store.close()


async def test_what_was_put_is_read_whole_and_by_ranges(engine: Engine) -> None:
    version, data = new_version(), os.urandom(300_000)
    content = await engine.store.put(version, pieces(data[:1], data[1:70_000], data[70_000:]), limit=LIMIT)
    assert (content.version, content.size) == (version, len(data))
    assert content.etag == hashlib.md5(data).hexdigest()
    for start, stop in ((0, len(data)), (0, 1), (5, 299_999), (299_999, 300_000), (7, 7)):
        assert await content_of(engine.store, version, start, stop) == data[start:stop]


async def test_bytes_of_several_pieces_come_back_in_blocks(engine: Engine) -> None:
    version, data = new_version(), os.urandom(20 * MIB + 13)
    chunks = pieces(*(data[at : at + 700_000] for at in range(0, len(data), 700_000)))
    content = await engine.store.put(version, chunks, limit=LIMIT)
    assert (content.size, content.etag) == (len(data), hashlib.md5(data).hexdigest())
    assert await content_of(engine.store, version, 0, len(data)) == data
    assert (
        await content_of(engine.store, version, 3 * MIB + 1, 17 * MIB + 5) == data[3 * MIB + 1 : 17 * MIB + 5]
    )


async def test_nothing_at_all_is_content_too(engine: Engine) -> None:
    version = new_version()
    content = await engine.store.put(version, pieces(), limit=0)
    assert (content.size, content.etag) == (0, hashlib.md5(b"").hexdigest())
    assert await content_of(engine.store, version, 0, 0) == b""


@pytest.mark.parametrize("size", [100, 12 * MIB])
async def test_a_source_that_fails_in_the_middle_leaves_nothing(engine: Engine, size: int) -> None:
    version = new_version()
    for error in (ClientDisconnectedError(), ValueError("the source")):
        with pytest.raises(type(error)):
            await engine.store.put(
                version, pieces(*[b"x" * MIB] * (size // MIB), b"y", error=error), limit=LIMIT
            )
    assert engine.names() == set()
    with pytest.raises(ContentMissingError):
        await engine.store.read(version, 0, 1)


@pytest.mark.parametrize("size", [100, 12 * MIB])
async def test_a_cancelled_put_leaves_nothing(engine: Engine, size: int) -> None:
    is_waiting = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        for _ in range(0, size, MIB):
            yield b"x" * min(size, MIB)
        is_waiting.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(engine.store.put(new_version(), stalls(), limit=LIMIT))
    await is_waiting.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert engine.names() == set()


async def test_more_than_the_limit_is_refused_and_leaves_nothing(engine: Engine) -> None:
    for limit, chunks in ((2, pieces(b"abc")), (9 * MIB, pieces(*[b"x" * MIB] * 10))):
        with pytest.raises(TooLargeError):
            await engine.store.put(new_version(), chunks, limit=limit)
        with pytest.raises(TooLargeError):
            await engine.store.put_part(new_version(), 1, pieces(*[b"x" * MIB] * 10), limit=limit)
    assert engine.names() == set()
    exactly = await engine.store.put(new_version(), pieces(b"ab", b"c"), limit=3)
    assert exactly.size == 3


async def test_missing_content_is_told_before_the_first_byte(engine: Engine) -> None:
    for start, stop in ((0, 0), (0, 1), (0, 5 * MIB)):
        with pytest.raises(ContentMissingError):
            await engine.store.read(new_version(), start, stop)
    with pytest.raises(ContentMissingError):
        await engine.store.copy(new_version(), new_version())
    short = new_version()
    await engine.store.put(short, pieces(b"short"), limit=LIMIT)
    for start, stop in ((0, 6), (9, 12), (0, MIB)):
        with pytest.raises(ContentMissingError):
            await engine.store.read(short, start, stop)


@pytest.mark.parametrize("version", HOSTILE)
async def test_what_is_no_version_names_nothing(engine: Engine, version: str) -> None:
    store, good = engine.store, new_version()
    await store.put(good, pieces(b"x"), limit=LIMIT)
    before = engine.names()
    part = Part(1, 1, "9dd4e461268c8034f5c8564e155c67a6")
    for attempt in (
        store.put(version, pieces(b"x"), limit=LIMIT),
        store.read(version, 0, 1),
        store.copy(version, new_version()),
        store.copy(good, version),
        store.put_part(version, 1, pieces(b"x"), limit=LIMIT),
        store.list_parts(version),
        store.assemble(version, [part], new_version()),
        store.assemble(new_version(), [part], version),
        store.discard_upload(version),
    ):
        with pytest.raises(ContentMissingError):
            await attempt
    await store.delete([version])
    assert engine.names() == before


async def test_etags_of_parts_from_clients_lead_nowhere_else(engine: Engine) -> None:
    upload, secret = new_version(), new_version()
    await engine.store.put(secret, pieces(b"secret"), limit=LIMIT)
    await engine.store.put_part(upload, 1, pieces(b"x"), limit=LIMIT)
    for etag in (f"x/../../../objects/{secret[:2]}/{secret}", "", "9DD4E461268C8034F5C8564E155C67A6"):
        with pytest.raises(ContentMissingError):
            await engine.store.assemble(upload, [Part(1, 6, etag)], new_version())
        with pytest.raises(ContentMissingError):
            await engine.store.assemble(upload, [Part(1, 6, etag), Part(2, 6, etag)], new_version())


async def test_a_copy_outlives_its_source(engine: Engine) -> None:
    source, target = new_version(), new_version()
    await engine.store.put(source, pieces(b"hello"), limit=LIMIT)
    await engine.store.copy(source, target)
    await engine.store.delete([source])
    assert await content_of(engine.store, target, 0, 5) == b"hello"
    with pytest.raises(ContentMissingError):
        await engine.store.read(source, 0, 5)


async def test_deleting_what_is_gone_does_no_harm(engine: Engine) -> None:
    kept, gone = new_version(), new_version()
    for version in (kept, gone):
        await engine.store.put(version, pieces(b"x"), limit=LIMIT)
    await engine.store.delete([gone, new_version()])
    await engine.store.delete([gone, new_version()])
    await engine.store.delete([])
    assert {name.rpartition("/")[2] for name in engine.names()} == {kept}


async def test_parts_are_put_together_in_the_order_that_is_asked_for(engine: Engine) -> None:
    upload, version = new_version(), new_version()
    data = {number: os.urandom(size) for number, size in ((1, 6 * MIB), (2, 9 * MIB), (10, 4))}
    parts = {}
    for number in (10, 1, 2):
        parts[number] = await engine.store.put_part(upload, number, pieces(data[number]), limit=LIMIT)
        assert parts[number] == Part(number, len(data[number]), hashlib.md5(data[number]).hexdigest())
    assert await engine.store.list_parts(upload) == [parts[1], parts[2], parts[10]]

    content = await engine.store.assemble(upload, [parts[1], parts[2], parts[10]], version)
    whole = data[1] + data[2] + data[10]
    digests = b"".join(hashlib.md5(data[number]).digest() for number in (1, 2, 10))
    assert (content.size, content.etag) == (len(whole), f"{hashlib.md5(digests).hexdigest()}-3")
    assert await content_of(engine.store, version, 0, len(whole)) == whole

    other = new_version()
    await engine.store.assemble(upload, [parts[10], parts[1]], other)
    await engine.store.discard_upload(upload)
    assert await content_of(engine.store, other, 0, 8) == (data[10] + data[1])[:8]
    assert {name.rpartition("/")[2] for name in engine.names()} == {version, other}
    assert await engine.store.list_parts(upload) == []


async def test_a_part_that_is_sent_again_takes_no_more_space(engine: Engine) -> None:
    upload = new_version()
    first = await engine.store.put_part(upload, 1, pieces(b"hello"), limit=LIMIT)
    assert await engine.store.put_part(upload, 1, pieces(b"hel", b"lo"), limit=LIMIT) == first
    assert len(engine.names()) == 1
    other = await engine.store.put_part(upload, 1, pieces(b"other"), limit=LIMIT)
    assert set(await engine.store.list_parts(upload)) == {first, other}


@pytest.mark.parametrize("count", [0, 1, 12])
async def test_a_part_whose_client_left_is_not_there(engine: Engine, count: int) -> None:
    upload = new_version()
    chunks = (b"x" * MIB,) * count
    with pytest.raises(ClientDisconnectedError):
        await engine.store.put_part(upload, 1, pieces(*chunks, error=ClientDisconnectedError()), limit=LIMIT)
    assert engine.names() == set()
    assert await engine.store.list_parts(upload) == []


async def test_a_single_part_becomes_the_content_and_may_do_so_again(engine: Engine) -> None:
    upload, version = new_version(), new_version()
    part = await engine.store.put_part(upload, 1, pieces(b"hello"), limit=LIMIT)
    for _ in range(2):  # the second after a crash between the bytes and their row
        content = await engine.store.assemble(upload, [part], version)
        assert (content.size, content.etag) == (5, hashlib.md5(b"hello").hexdigest())
    await engine.store.discard_upload(upload)
    with pytest.raises(ContentMissingError):
        await engine.store.assemble(upload, [part], version)
    assert await content_of(engine.store, version, 0, 5) == b"hello"


async def test_a_missing_part_is_told_and_nothing_is_made(engine: Engine) -> None:
    upload, version = new_version(), new_version()
    part = await engine.store.put_part(upload, 1, pieces(b"hello"), limit=LIMIT)
    for parts in (
        [Part(2, 5, part.etag)],
        [part, Part(2, 5, part.etag)],
        [part, Part(1, 6, part.etag)],
    ):
        with pytest.raises(ContentMissingError):
            await engine.store.assemble(upload, parts, version)
    with pytest.raises(ContentMissingError):
        await engine.store.read(version, 0, 1)
    await engine.store.discard_upload(upload)
    assert engine.names() == set()


async def test_lists_know_ages(engine: Engine) -> None:
    store, upload = engine.store, new_version()
    versions = {new_version() for _ in range(5)}
    for version in versions:
        await store.put(version, pieces(b"x"), limit=LIMIT)
    await store.put_part(upload, 1, pieces(b"x"), limit=LIMIT)
    assert [page async for page in store.list_older(3600) if page] == []
    assert [page async for page in store.list_uploads(3600)] == []
    listed = [found async for page in store.list_older(-2) for found in page]
    assert listed == [Stored(version, 1) for version in sorted(versions)]
    assert [found async for page in store.list_uploads(-2) for found in page] == [upload]
    await store.put_part(new_version(), 1, pieces(b"y"), limit=LIMIT)
    assert len([found async for page in store.list_uploads(-2) for found in page]) == 2


async def test_many_at_once_do_not_mix(engine: Engine) -> None:
    data = {new_version(): os.urandom(50_000 + number) for number in range(60)}

    async def put_and_read(version: str) -> None:
        await engine.store.put(version, pieces(data[version][:20_000], data[version][20_000:]), limit=LIMIT)
        assert await content_of(engine.store, version, 0, len(data[version])) == data[version]

    async with asyncio.TaskGroup() as group:
        for version in data:
            group.create_task(put_and_read(version))
    assert len(engine.names()) == len(data)


async def test_memory_does_not_grow_with_the_content(engine: Engine) -> None:
    # The object store of the tests takes a minute for 300 MiB, because it copies the whole object for each range.
    size, bound = (300 * MIB, 40 * MIB) if engine.name == "disk" else (90 * MIB, 60 * MIB)
    block, version = os.urandom(MIB), new_version()
    most = before = resident_bytes()

    async def source() -> AsyncIterator[bytes]:
        nonlocal most
        for _ in range(size // MIB):
            for at in range(0, MIB, 256 * 1024):
                yield block[at : at + 256 * 1024]
            most = max(most, resident_bytes())

    content = await engine.store.put(version, source(), limit=LIMIT)
    read = await engine.store.read(version, 0, size)
    assert not isinstance(read, bytes)
    digest, count = hashlib.md5(), 0
    async for chunk in read:
        digest.update(chunk)
        count += len(chunk)
        most = max(most, resident_bytes())
    assert (count, digest.hexdigest()) == (content.size, content.etag)
    assert most - before < bound, (most - before) / MIB


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
