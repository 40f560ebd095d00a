"""When and how events are written."""

import asyncio
import json

import pytest

from basalt import observe
from basalt.observe.metrics import snapshot

pytestmark = pytest.mark.req("P17")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


async def test_lines_of_one_turn_are_written_together_at_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    observe.event("first", number=1)
    observe.event("second", number=2)
    assert lines(capsys) == []
    await asyncio.sleep(0)
    assert [line["event"] for line in lines(capsys)] == ["first", "second"]


async def test_a_warning_waits_for_nothing_and_what_came_before_comes_before(
    capsys: pytest.CaptureFixture[str],
) -> None:
    observe.event("first")
    observe.event("second", level="warning")
    assert [line["event"] for line in lines(capsys)] == ["first", "second"]


def test_a_loop_that_ended_before_its_turn_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    loop = asyncio.new_event_loop()

    async def tell() -> None:
        observe.event("first")
        loop.stop()

    task = loop.create_task(tell())
    loop.run_forever()
    del task
    loop.close()
    asyncio.run(_tell("second"))
    observe.event("third")
    assert [line["event"] for line in lines(capsys)] == ["first", "second", "third"]


async def _tell(name: str) -> None:
    observe.event(name)
    await asyncio.sleep(0)


def test_outside_of_a_loop_a_line_is_written_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    observe.event("noted", odd={1: object})
    [line] = lines(capsys)
    assert (line["event"], line["level"]) == ("noted", "info")
    assert str(line["time"]).endswith("+00:00")


def test_warnings_and_errors_are_counted_by_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    def count() -> float:
        family = next(one for one in snapshot() if one.name == "basalt_log_events_total")
        return sum(s.value for s in family.samples if s.labels == ("test_trouble", "error"))

    before = count()
    observe.event("test_trouble", level="error", error=ValueError("odd"))
    assert count() == before + 1
    [line] = lines(capsys)
    assert line["error"] == "ValueError: odd"
