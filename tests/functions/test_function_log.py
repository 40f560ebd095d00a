"""The log of each function: bounded, by request, followed as it grows."""

import asyncio
from pathlib import Path

import pytest

from basalt.functions import LogFollower, function_log, read_log
from basalt.functions.function_log import FunctionLog

pytestmark = pytest.mark.req("P9", "P16")


async def test_lines_are_read_back_by_request(tmp_path: Path) -> None:
    log = FunctionLog(tmp_path)
    for number in range(5):
        log.note("one", "line", f"r{number % 2}", line=f"text {number}")
    log.note("../evil", "line", "", line="nowhere")
    log.close()
    assert [line["line"] for line in read_log(tmp_path, "one", limit=2)] == ["text 3", "text 4"]
    assert [line["line"] for line in read_log(tmp_path, "one", request_id="r1", limit=9)] == [
        "text 1",
        "text 3",
    ]
    assert read_log(tmp_path, "other", limit=9) == []
    assert {file.name for file in (tmp_path / "logs").iterdir()} == {"functions"}


async def test_the_log_does_not_grow_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function_log, "MAX_FILE_BYTES", 10_000)
    log = FunctionLog(tmp_path)
    for number in range(100):
        log.note("one", "line", "", line=f"{number} " + "x" * 400)
        log.close()
    files = list((tmp_path / "logs" / "functions").glob("one.jsonl*"))
    assert len(files) == 2
    assert sum(file.stat().st_size for file in files) < 25_000
    assert read_log(tmp_path, "one", limit=1)[0]["line"].startswith("99 ")


async def test_what_is_added_is_followed_over_a_turn_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function_log, "MAX_FILE_BYTES", 1000)
    log = FunctionLog(tmp_path)
    log.note("one", "line", "", line="before")
    log.close()
    follower = LogFollower(tmp_path, "one")
    assert [*follower.read()] == []
    seen = []
    for number in range(30):
        log.note("one", "line", "", line=str(number))
        log.close()
        seen += [line["line"] for line in follower.read()]
    assert seen == [str(number) for number in range(30)]


async def test_lines_leave_by_themselves(tmp_path: Path) -> None:
    log = FunctionLog(tmp_path)
    log.note("one", "call", "r", status=200)
    async with asyncio.timeout(5):
        while not read_log(tmp_path, "one", limit=1):
            await asyncio.sleep(0.02)
    log.close()
