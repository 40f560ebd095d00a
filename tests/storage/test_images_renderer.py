"""The pool of processes and the cache: limits, deaths, one result for many who ask, room for new images."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from basalt.config import ImageSettings
from basalt.storage.errors import StorageError
from basalt.storage.images import PassedThrough, Plan, Rendered, Renderer, build_key
from basalt.storage.images.cache import make_room
from basalt.storage.images.pool import JOBS_PER_PROCESS, WAITING_PER_PROCESS
from tests.storage.pictures import SVG, UPRIGHT, corners, encode, quartered, size_of

pytestmark = pytest.mark.req("P8")
ONE = ImageSettings(processes=1)
SMALL = Plan(width=20)


def slow_picture() -> bytes:
    """Some seconds of work as AVIF."""
    noise = Image.effect_noise((200, 200), 90).resize((2500, 2500), Image.Resampling.NEAREST)
    return encode(noise.convert("RGB"), "PNG", compress_level=1)


@asynccontextmanager
async def rendering(folder: Path, settings: ImageSettings = ONE) -> AsyncIterator[Renderer]:
    renderer = Renderer(settings, folder)
    await renderer.open()
    try:
        yield renderer
    finally:
        await renderer.close()


def giving(source: bytes | Path) -> Callable[[], Awaitable[bytes | Path]]:
    async def fetch() -> bytes | Path:
        return source

    return fetch


async def render(renderer: Renderer, source: bytes, plan: Plan = SMALL, **options: str) -> Rendered:
    target = options.get("target")
    version = options.get("version", str(hash(source)))
    image = await renderer.render(version, len(source), plan, target, giving(source))  # type: ignore[arg-type]
    assert isinstance(image, Rendered)
    return image


def held_bytes(folder: Path) -> int:
    """What of the entries is there; some may go while they are counted."""
    held = 0
    for file in entries(folder):
        with suppress(FileNotFoundError):
            held += file.stat().st_size
    return held


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*"))


async def test_processes_start_with_the_first_image_and_end_with_the_service(tmp_path: Path) -> None:
    async with rendering(tmp_path) as renderer:
        assert renderer.pids == []
        await render(renderer, quartered())
        [pid] = renderer.pids
        assert is_alive(pid)
    assert not is_alive(pid)


async def test_there_are_no_more_processes_than_the_settings_say(tmp_path: Path) -> None:
    async with rendering(tmp_path, ImageSettings(processes=2)) as renderer:
        async with asyncio.TaskGroup() as group:
            for side in range(1, 21):
                group.create_task(render(renderer, quartered(), Plan(width=side)))
        assert (len(renderer.pids), renderer.jobs) == (2, 20)


async def test_a_finished_image_is_not_made_again(tmp_path: Path) -> None:
    async with rendering(tmp_path) as renderer:
        first = await render(renderer, quartered())
        second = await render(renderer, quartered())
        assert (first, renderer.jobs) == (second, 1)
        await render(renderer, quartered(), Plan(width=21))
        await render(renderer, quartered(), SMALL, version="another")
        await render(renderer, quartered(), SMALL, target="webp")
        assert renderer.jobs == 4
    async with rendering(tmp_path) as later:
        assert await render(later, quartered()) == first
        assert (later.jobs, later.pids) == (0, [])


async def test_without_a_cache_nothing_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    async with rendering(folder, replace(ONE, cache_bytes=0)) as renderer:
        await render(renderer, quartered())
        await render(renderer, quartered())
        assert renderer.jobs == 2
    assert not folder.exists()


async def test_what_many_ask_for_at_once_is_made_once(tmp_path: Path) -> None:
    async with rendering(tmp_path, replace(ONE, cache_bytes=0)) as renderer:
        images = await asyncio.gather(*(render(renderer, quartered()) for _ in range(30)))
        assert (len(set(images)), renderer.jobs) == (1, 1)


async def test_whoever_goes_away_leaves_the_others_their_image(tmp_path: Path) -> None:
    async with rendering(tmp_path) as renderer:
        gone, stays = (asyncio.create_task(render(renderer, quartered())) for _ in range(2))
        await until(lambda: renderer.jobs == 1)
        gone.cancel()
        assert corners((await stays).data) == UPRIGHT
        assert renderer.jobs == 1


async def test_a_damaged_entry_is_made_again(tmp_path: Path) -> None:
    async with rendering(tmp_path) as renderer:
        image = await render(renderer, quartered())
        [entry] = entries(tmp_path)
        whole = entry.read_bytes()
        damages = (b"", bytes(len(whole)), whole[:-20], whole[:40] + b"\0" + whole[41:])
        for count, damage in enumerate(damages, start=2):
            entry.write_bytes(damage)
            assert await render(renderer, quartered()) == image
            assert renderer.jobs == count


async def test_what_was_not_used_for_longest_makes_room(tmp_path: Path) -> None:
    for number, name in enumerate(("aa/old", "bb/used", "cc/new")):
        file = tmp_path / name
        file.parent.mkdir()
        file.write_bytes(bytes(1000))
        os.utime(file, (1_000_000 + number, 1_000_000 + number))
    assert make_room(tmp_path, 3000) == 3000
    assert make_room(tmp_path, 2500) == 2000
    assert [file.name for file in entries(tmp_path)] == ["used", "new"]


async def test_the_cache_stays_within_its_bound(tmp_path: Path) -> None:
    limit = 20_000
    async with rendering(tmp_path, replace(ONE, cache_bytes=limit)) as renderer:
        noisy = encode(Image.effect_noise((120, 120), 80), "PNG")
        for side in range(40, 60):
            await render(renderer, noisy, Plan(width=side))
        await until(lambda: held_bytes(tmp_path) <= limit)
        assert renderer.jobs == 20
        assert entries(tmp_path)
        await render(renderer, noisy, Plan(width=59))
        assert renderer.jobs == 20


async def test_an_image_that_takes_too_long_is_given_up_and_its_process_replaced(tmp_path: Path) -> None:
    async with rendering(tmp_path, replace(ONE, timeout_s=1.2)) as renderer:
        slow = slow_picture()
        await render(renderer, quartered())
        [busy] = renderer.pids
        with pytest.raises(StorageError, match="Image request timed out") as raised:
            await render(renderer, slow, Plan(), target="avif")
        assert (raised.value.status, raised.value.http_status) == (408, 400)
        assert not is_alive(busy)
        assert corners((await render(renderer, quartered(), Plan(width=40))).data) == UPRIGHT


async def test_a_process_that_is_killed_at_work_costs_nobody_an_image(tmp_path: Path) -> None:
    async with rendering(tmp_path) as renderer:
        await render(renderer, quartered())
        [pid] = renderer.pids
        os.kill(pid, signal.SIGSTOP)
        at_work = asyncio.create_task(render(renderer, quartered(), Plan(width=40)))
        await until(lambda: renderer.jobs == 2)
        os.kill(pid, signal.SIGKILL)
        assert corners((await at_work).data) == UPRIGHT
        assert renderer.pids != [pid]


async def test_a_process_that_was_killed_while_idle_is_replaced(tmp_path: Path) -> None:
    async with rendering(tmp_path) as renderer:
        await render(renderer, quartered())
        [pid] = renderer.pids
        os.kill(pid, signal.SIGKILL)
        assert corners((await render(renderer, quartered(), Plan(width=40))).data) == UPRIGHT


@pytest.mark.parametrize(("deadly", "status"), [(signal.SIGSEGV, 400), (signal.SIGKILL, 500)])
async def test_an_image_that_ends_every_process_is_refused(
    tmp_path: Path, deadly: signal.Signals, status: int
) -> None:
    """As broken where the processes crash; as our own failure where something else kills them."""
    async with rendering(tmp_path) as renderer:
        at_work = asyncio.create_task(render(renderer, slow_picture(), Plan(), target="avif"))
        killed: set[int] = set()
        for _ in range(2):
            await until(lambda: bool(set(renderer.pids) - killed))
            [pid] = set(renderer.pids) - killed
            os.kill(pid, deadly)
            killed.add(pid)
        with pytest.raises(StorageError) as raised:
            await at_work
        assert raised.value.status == status
        assert corners((await render(renderer, quartered())).data) == UPRIGHT


async def test_beyond_the_queue_callers_are_told_to_slow_down(tmp_path: Path) -> None:
    async with rendering(tmp_path) as renderer:
        await render(renderer, quartered())
        [pid] = renderer.pids
        os.kill(pid, signal.SIGSTOP)
        room = 1 + WAITING_PER_PROCESS
        waiting = [
            asyncio.create_task(render(renderer, quartered(), Plan(width=side)))
            for side in range(21, 21 + room)
        ]
        await until(lambda: renderer.jobs == 1 + room)
        with pytest.raises(StorageError, match="Too many requests") as raised:
            await render(renderer, quartered(), Plan(width=80))
        assert (raised.value.http_status, raised.value.headers) == (429, (("retry-after", "1"),))
        os.kill(pid, signal.SIGCONT)
        assert [image.width for image in await asyncio.gather(*waiting)] == list(range(21, 21 + room))


async def test_processes_are_replaced_after_their_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("basalt.storage.images.pool.JOBS_PER_PROCESS", 3)
    assert JOBS_PER_PROCESS > 3
    async with rendering(tmp_path) as renderer:
        seen = set()
        for side in range(1, 7):
            await render(renderer, quartered(), Plan(width=side))
            seen.update(renderer.pids)
    assert len(seen) == 2


async def test_a_service_that_closes_in_the_middle_leaves_no_process(tmp_path: Path) -> None:
    async with rendering(tmp_path) as renderer:
        at_work = asyncio.create_task(render(renderer, slow_picture(), Plan(), target="avif"))
        await until(lambda: bool(renderer.pids))
        [pid] = renderer.pids
    assert not is_alive(pid)
    with pytest.raises(asyncio.CancelledError):
        await at_work


async def test_sources_come_as_files_or_as_bytes(tmp_path: Path) -> None:
    file = tmp_path / "source [n=-1]"
    file.write_bytes(quartered())
    async with rendering(tmp_path / "images") as renderer:
        image = await renderer.render("v", file.stat().st_size, SMALL, None, giving(file))
        assert isinstance(image, Rendered)
        assert size_of(image.data) == (20, 10)
        assert await renderer.render("w", len(SVG), SMALL, None, giving(SVG)) == PassedThrough(
            "image/svg+xml"
        )
        with pytest.raises(StorageError, match="The resource was not found"):
            await renderer.render("x", 10, SMALL, None, giving(tmp_path / "none"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (replace(ONE, max_pixels=3199), "The source image resolution is too large to process"),
        (replace(ONE, max_source_bytes=50), "The source image file is too large to process"),
    ],
)
async def test_the_limits_of_the_settings_hold(tmp_path: Path, settings: ImageSettings, message: str) -> None:
    async with rendering(tmp_path, settings) as renderer:
        with pytest.raises(StorageError, match=message):
            await render(renderer, quartered())
        assert entries(tmp_path) == []


def test_the_key_of_a_result_changes_with_everything_that_it_depends_on() -> None:
    plans = (Plan(), Plan(width=1), Plan(height=1), Plan(quality=20), Plan(gravity="no"), Plan(x_offset=1))
    keys = {
        build_key(version, plan, target) for version in "ab" for plan in plans for target in (None, "webp")
    }
    assert len(keys) == 24
