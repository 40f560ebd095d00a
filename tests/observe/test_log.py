"""When and how events are written."""

import asyncio
import json
import logging

import pytest

from basalt import observe
from basalt.observe.log import _LibraryHandler
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


@pytest.mark.parametrize(
    "odd",
    ["half a pair \udcff", 2**70, b"\xff", [[1, 2**64]], {"a": {2**65}}],
    ids=["surrogate", "large", "bytes", "nested", "set"],
)
def test_a_field_that_is_odd_costs_no_event(odd: object, capsys: pytest.CaptureFixture[str]) -> None:
    circle: list[object] = [odd]
    circle.append(circle)
    observe.event("first", odd=odd)
    observe.event("second", odd=circle)
    observe.event("third", odd=Mute())
    assert [line["event"] for line in lines(capsys)] == ["first", "second", "third"]


class Mute:
    def __str__(self) -> str:
        raise RuntimeError("nothing to say")


@pytest.mark.req("P16")
def test_text_for_a_terminal_cannot_be_forged_nor_move_its_cursor(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("basalt.observe.log._Log.as_json", False)
    observe.event("request", path="/\x1b]0;owned\x07\n12:00:00 error supervisor: forged\x9b2J")
    observe.event("request_crashed", level="error", error=ValueError("\x1b[2J\nin two lines"))
    written = capsys.readouterr().err
    assert written.splitlines()[0].endswith(
        r"request path=/\x1b]0;owned\x07\n12:00:00 error supervisor: forged\x9b2J"
    )
    assert not set(written) & set("\x1b\x07\x9b")


def test_a_line_has_a_bound(capsys: pytest.CaptureFixture[str]) -> None:
    observe.event("request", path="/" + "a" * 10_000_000)
    observe.event("request_crashed", level="error", error=ValueError("b" * 10_000_000))
    written = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["event"] for line in written] == ["request", "request_crashed"]
    assert max(map(len, written)) < 64 * 1024


def test_what_a_library_says_is_written_without_the_secrets_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    said = (
        "postgresql://ada:hunter2@db/x?token=hunter2 Bearer hunter2hunter2 password='hunter 2' apikey=hunter2"
    )
    try:
        try:
            raise OSError(said)
        except OSError as error:
            raise RuntimeError("over it") from error
    except RuntimeError as error:
        observe.event("request_crashed", level="error", error=error)
    observe.event("cache_away", level="warning", reason=said)
    written = capsys.readouterr().err
    assert "hunter" not in written
    assert "postgresql://ada:***@db/x?token=***" in written


class Full:
    """A file on a full disk."""

    buffer = property(lambda self: self)

    def write(self, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        pass


def test_a_log_that_cannot_be_written_stops_nobody_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def unwritten() -> float:
        family = next(one for one in snapshot() if one.name == "basalt_log_events_dropped_total")
        return sum(s.value for s in family.samples if s.labels == ("stderr", "unwritable"))

    before = unwritten()
    monkeypatch.setattr("sys.stderr", Full())
    observe.event("first")
    observe.event("second", level="error")
    monkeypatch.undo()
    assert unwritten() == before + 2


def test_a_warning_of_a_library_whose_arguments_do_not_fit_is_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    handler = _LibraryHandler()
    handler.emit(logging.LogRecord("lib", logging.WARNING, "x.py", 1, "%d of %d", ("one",), None))
    [line] = lines(capsys)
    assert line["message"] == "%d of %d"
