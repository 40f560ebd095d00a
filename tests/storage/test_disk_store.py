"""What only a folder can do wrong: descriptors, threads, a full disk, other people's files."""

import asyncio
import os
import random
import shutil
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from basalt.errors import BasaltError
from basalt.storage.names import new_version
from basalt.storage.stores import ContentMissingError, DiskStore
from tests.storage.contents import content_of, files_below, pieces

pytestmark = pytest.mark.req("P8")

MIB = 1024 * 1024
LIMIT = 1 << 30


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DiskStore]:
    opened = DiskStore(tmp_path / "store")
    await opened.open()
    yield opened
    await opened.close()


def open_files(folder: Path) -> int:
    """How many descriptors of this process are files below a folder, unlinked ones included."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(os.readlink(entry))
        except OSError:
            continue
    return sum(link.startswith(str(folder)) for link in links)


async def put(store: DiskStore, data: bytes) -> str:
    version = new_version()
    await store.put(version, pieces(data), limit=LIMIT)
    return version


async def until_closed(folder: Path) -> None:
    for _ in range(500):
        if open_files(folder) == 0:
            return
        await asyncio.sleep(0.01)
    assert open_files(folder) == 0


async def test_files_are_closed_however_a_download_ends(store: DiskStore, tmp_path: Path) -> None:
    data = os.urandom(3 * MIB)
    version = await put(store, data)

    never_begun = await store.read(version, 0, len(data))
    assert open_files(tmp_path) == 1
    del never_begun
    assert open_files(tmp_path) == 0

    left_early = await store.read(version, 0, len(data))
    assert not isinstance(left_early, bytes)
    assert await anext(left_early) == data[:MIB]
    await left_early.aclose()  # while the next block is read
    with pytest.raises(StopAsyncIteration):
        await anext(left_early)
    await until_closed(tmp_path)

    async def read_all() -> None:
        await content_of(store, version, 0, len(data))

    for _ in range(50):
        reading = asyncio.create_task(read_all())
        await asyncio.sleep(random.uniform(0, 0.002))
        reading.cancel()
        await asyncio.wait([reading])
        del reading
    await until_closed(tmp_path)
    assert await content_of(store, version, 0, len(data)) == data


async def test_uploads_cancelled_at_any_moment_leave_nothing_and_harm_no_others(
    store: DiskStore, tmp_path: Path
) -> None:
    """A thread that is still writing when its upload is cancelled must not write into what was opened since."""
    data = {new_version(): os.urandom(2 * MIB) for _ in range(10)}

    async def put_and_cancel() -> None:
        for _ in range(15):
            doomed = asyncio.create_task(store.put(new_version(), pieces(*[b"\xff" * MIB] * 4), limit=LIMIT))
            await asyncio.sleep(random.uniform(0, 0.01))
            doomed.cancel()
            await asyncio.wait([doomed])

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(put_and_cancel())
        for version, content in data.items():
            group.create_task(store.put(version, pieces(content[:MIB], content[MIB:]), limit=LIMIT))
    await until_closed(tmp_path)
    for version, content in data.items():
        assert await content_of(store, version, 0, len(content)) == content
    half = files_below(tmp_path / "store" / "incoming")
    assert half == set()


async def test_a_download_goes_on_while_its_bytes_are_taken_away(store: DiskStore) -> None:
    data = os.urandom(3 * MIB)
    version = await put(store, data)
    reading = await store.read(version, 0, len(data))
    assert not isinstance(reading, bytes)
    first = await anext(reading)
    await store.delete([version])
    assert first + b"".join([block async for block in reading]) == data
    with pytest.raises(ContentMissingError):
        await store.read(version, 0, 1)


FULL = """
import asyncio, resource, sys
from pathlib import Path
from basalt.storage.names import new_version
from basalt.storage.stores import DiskStore, StoreFullError
from tests.storage.contents import content_of, files_below, pieces

MIB = 1024 * 1024
folder = Path(sys.argv[1])

async def refused(attempt):
    try:
        await attempt
    except StoreFullError:
        return
    raise AssertionError("there was room")

async def main():
    store = DiskStore(folder)
    await store.open()
    upload, kept = new_version(), new_version()
    parts = [await store.put_part(upload, number, pieces(b"x" * MIB), limit=MIB) for number in (1, 2)]
    await store.put(kept, pieces(b"kept"), limit=4)
    before = files_below(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB + MIB // 2, resource.RLIM_INFINITY))
    three = [b"y" * MIB] * 3
    await refused(store.put(new_version(), pieces(*three), limit=9 * MIB))
    await refused(store.put_part(upload, 3, pieces(*three), limit=9 * MIB))
    await refused(store.assemble(upload, parts, new_version()))
    assert files_below(folder) == before, files_below(folder) ^ before
    assert await content_of(store, kept, 0, 4) == b"kept"
    await store.put(new_version(), pieces(b"z" * MIB), limit=MIB)
    await store.close()

asyncio.run(main())
"""


def test_where_no_more_fits_the_write_fails_and_leaves_nothing(tmp_path: Path) -> None:
    """The limit on the size of a file stands for a full disk: the write fails in the middle of a block."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(FULL), str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=here())
    assert done.returncode == 0, done.stderr


def here() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path]))}


SYNCED = """
import asyncio, sys
from pathlib import Path
from basalt.storage.names import new_version
from basalt.storage.stores import DiskStore
from tests.storage.contents import pieces

async def main():
    store = DiskStore(Path(sys.argv[1]))
    await store.open()
    await store.put("00000000-0000-4000-8000-000000000000", pieces(b"hello"), limit=5)
    Path(sys.argv[1], "acknowledged").touch()
    await store.close()

asyncio.run(main())
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_bytes_and_name_are_on_the_disk_before_a_write_is_acknowledged(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    calls = "trace=openat,write,fsync,rename,mkdir"
    command = ["strace", "-f", "-y", "-e", calls, "-o", str(trace), sys.executable, "-c", SYNCED]
    done = subprocess.run(
        [*command, str(tmp_path / "store")], capture_output=True, text=True, check=False, env=here()
    )
    if "ptrace" in done.stderr:
        pytest.skip("this machine does not let strace look")
    assert done.returncode == 0, done.stderr
    lines = [
        line for line in trace.read_text().splitlines() if str(tmp_path) in line and "ENOENT" not in line
    ]
    steps = []
    for line in lines:
        call = line.split(None, 1)[1].partition("(")[0]
        for place in ("acknowledged", "incoming/", "objects/00", "store/objects>"):
            if place in line:
                steps.append((call, place))
                break
    assert steps[-1] == ("openat", "acknowledged")
    written = [step for step in steps if step[0] in ("write", "fsync", "rename", "mkdir")]
    assert written == [
        ("write", "incoming/"),
        ("fsync", "incoming/"),
        ("mkdir", "objects/00"),
        ("fsync", "store/objects>"),
        ("rename", "incoming/"),
        ("fsync", "objects/00"),
    ]


async def test_other_people_s_files_are_passed_over(store: DiskStore, tmp_path: Path) -> None:
    version = await put(store, b"x")
    folder = tmp_path / "store"
    (folder / "objects" / ".DS_Store").write_text("x")
    (folder / "objects" / version[:2] / "notes.txt").write_text("x")
    strange = version[:-4] + "0000"
    (folder / "objects" / version[:2] / strange).mkdir()
    (folder / "uploads" / "lost+found").mkdir()
    (folder / "incoming" / "folder").mkdir()
    upload = new_version()
    part = await store.put_part(upload, 1, pieces(b"x"), limit=1)
    (folder / "uploads" / upload / "readme").write_text("x")
    assert [found.version async for page in store.list_older(-1) for found in page] == [version]
    assert [found async for page in store.list_uploads(-1) for found in page] == [upload]
    assert await store.list_parts(upload) == [part]
    await store.discard_unfinished(-1)
    with pytest.raises(ContentMissingError):
        await store.read(strange, 0, 0)


async def test_a_file_that_was_cut_is_missing_and_not_half_served(store: DiskStore, tmp_path: Path) -> None:
    for size in (10, 3 * MIB):
        version = await put(store, b"x" * size)
        os.truncate(tmp_path / "store" / "objects" / version[:2] / version, size - 1)
        with pytest.raises(ContentMissingError):
            await store.read(version, 0, size)


async def test_more_copies_than_a_file_can_have_names(store: DiskStore, tmp_path: Path) -> None:
    version = await put(store, b"hello")
    names = tmp_path / "names"
    names.mkdir()
    if not give_all_names(tmp_path / "store" / "objects" / version[:2] / version, names):
        pytest.skip("this file system has no such limit")
    target = new_version()
    await store.copy(version, target)
    await store.delete([version])
    assert await content_of(store, target, 0, 5) == b"hello"
    assert files_below(tmp_path / "store" / "incoming") == set()


def give_all_names(file: Path, folder: Path) -> bool:
    """Whether there came a point from which on the file took no more names."""
    for number in range(70_000):  # ext4 allows 65,000
        try:
            os.link(file, f"{folder}/{number}")
        except OSError:
            return True
    return False


async def test_two_processes_may_share_a_folder(store: DiskStore, tmp_path: Path) -> None:
    other = DiskStore(tmp_path / "store")
    await other.open()
    version = await put(store, b"hello")
    assert await content_of(other, version, 0, 5) == b"hello"
    upload = new_version()
    parts = [
        await each.put_part(upload, number, pieces(b"x"), limit=1)
        for number, each in enumerate((store, other, store), 1)
    ]
    await other.discard_upload(upload)
    parts = [await each.put_part(upload, 1, pieces(b"y"), limit=1) for each in (store, other)]
    assert await store.list_parts(upload) == parts[:1]
    await other.close()


@pytest.mark.parametrize("place", ["file", "below a file"])
async def test_a_folder_that_will_not_do_is_told_in_a_sentence(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x")
    folder = tmp_path / "file" if place == "file" else tmp_path / "file" / "store"
    with pytest.raises(BasaltError, match=r"The folder for objects .* cannot be used") as caught:
        await DiskStore(folder).open()
    assert caught.value.code == "storage_folder_unusable"
