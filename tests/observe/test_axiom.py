"""The log's way to Axiom, against a server that speaks its ingest endpoint."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from basalt import observe
from basalt.config import AxiomSettings, ConfigError, load_settings
from basalt.observe.axiom import AxiomSink
from basalt.observe.log import add_sink, remove_sink
from basalt.observe.metrics import snapshot
from tests.fakes.axiom import TOKEN, Axiom, axiom
from tests.fakes.small_server import Reply

pytestmark = pytest.mark.req("P17")

QUICK = AxiomSettings(dataset="logs", token=TOKEN, interval_s=0.05)


@pytest.fixture
def fake() -> Iterator[Axiom]:
    with axiom() as one:
        yield one


@contextmanager
def sending(fake: Axiom, **settings: Any) -> Iterator[AxiomSink]:
    """Whatever is logged goes to the fake."""
    sink = AxiomSink(replace(QUICK, url=fake.url, **settings))
    sink.start()
    add_sink(sink)
    try:
        yield sink
    finally:
        remove_sink(sink)
        sink.stop(within_s=2)


def until(condition: Callable[[], bool], limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def figure(name: str, *labels: str) -> float:
    return sum(
        sample.value
        for family in snapshot()
        if family.name == name
        for sample in family.samples
        if sample.labels == labels
    )


def dropped(reason: str) -> float:
    return figure("basalt_log_events_dropped_total", "axiom", reason)


def sent() -> float:
    return figure("basalt_log_events_sent_total", "axiom")


def test_events_arrive_in_order_with_their_time_and_request(fake: Axiom) -> None:
    token = observe.request_id.set("id-1")
    with sending(fake):
        for number in range(5):
            observe.event("noted", number=number)
        until(lambda: len(fake.events) == 5)
    observe.request_id.reset(token)

    assert [event["number"] for event in fake.events] == [0, 1, 2, 3, 4]
    assert {event["request_id"] for event in fake.events} == {"id-1"}
    assert all(event["time"].startswith("20") for event in fake.events)
    assert fake.problems == []


def test_what_comes_together_goes_together_and_no_more_at_once_than_was_set(fake: Axiom) -> None:
    fake.may_answer.clear()
    with sending(fake, batch=100):
        for number in range(250):
            observe.event("noted", number=number)
        fake.may_answer.set()
        until(lambda: len(fake.events) == 250)

    assert max(fake.batches) <= 100
    assert fake.requests <= 6
    assert [event["number"] for event in fake.events] == list(range(250))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_was_not_taken_is_sent_again(fake: Axiom, status: int) -> None:
    fake.replies = [Reply(status), Reply(status)]
    with sending(fake):
        observe.event("noted")
        until(lambda: "noted" in fake.names and "log_sink_back" in fake.names)

    assert fake.names.count("noted") == 1
    assert "log_sink_away" in fake.names


def test_a_wait_that_is_asked_for_is_kept(fake: Axiom) -> None:
    fake.replies = [Reply(429, headers={"retry-after": "1"})]
    with sending(fake):
        started = time.monotonic()
        observe.event("noted")
        until(lambda: "noted" in fake.names)
    assert time.monotonic() - started > 0.9


def test_a_refused_batch_is_counted_and_the_next_one_is_sent(
    fake: Axiom, capsys: pytest.CaptureFixture[str]
) -> None:
    before = dropped("refused")
    fake.replies = [Reply(403, b"no")]
    with sending(fake):
        observe.event("first")
        until(lambda: dropped("refused") > before)
        observe.event("second")
        until(lambda: "second" in fake.names)

    assert "first" not in fake.names
    assert "log_events_refused" in capsys.readouterr().err


def test_events_that_the_answer_says_have_failed_are_counted(fake: Axiom) -> None:
    before, fake.fails = dropped("refused"), 1
    with sending(fake):
        observe.event("noted")
        until(lambda: dropped("refused") > before)
        fake.fails = 0


def test_nobody_waits_for_it_when_it_hangs_and_the_oldest_go(fake: Axiom) -> None:
    before = dropped("queue_full")
    fake.may_answer.clear()
    with sending(fake, batch=10, queue=50):
        observe.event("first")
        until(lambda: fake.requests == 1)
        started = time.monotonic()
        for number in range(500):
            observe.event("noted", number=number)
        assert time.monotonic() - started < 1
        fake.may_answer.set()
        until(lambda: "log_events_dropped" in fake.names)
        until(lambda: any(event.get("number") == 499 for event in fake.events))

    lost = dropped("queue_full") - before
    told = [event for event in fake.events if event["event"] == "log_events_dropped"]
    assert lost >= 440
    assert sum(event["count"] for event in told) == lost
    arrived = [event["number"] for event in fake.events if event["event"] == "noted"]
    assert arrived == sorted(arrived)
    assert arrived[-1] == 499


def test_a_stop_sends_what_waits(fake: Axiom) -> None:
    with sending(fake, interval_s=30):
        observe.event("last words")
    assert fake.names == ["last words"]


def test_a_stop_waits_no_longer_than_it_may(fake: Axiom) -> None:
    before = dropped("unsent")
    fake.replies = [Reply(503)] * 1000
    sink = AxiomSink(replace(QUICK, url=fake.url))
    sink.start()
    add_sink(sink)
    observe.event("noted")
    until(lambda: fake.requests >= 1)
    remove_sink(sink)
    started = time.monotonic()
    sink.stop(within_s=0.5)
    assert time.monotonic() - started < 1.5
    until(lambda: dropped("unsent") > before)


def test_an_address_where_nobody_is_costs_nothing_but_the_events() -> None:
    sink = AxiomSink(replace(QUICK, url="http://127.0.0.1:9"))
    sink.start()
    for _ in range(100):
        sink.put(orjson.dumps({"event": "noted"}))
    sink.stop(within_s=0.3)


def test_its_token_is_in_no_line_of_the_log(fake: Axiom, capsys: pytest.CaptureFixture[str]) -> None:
    fake.replies = [Reply(500), Reply(401, TOKEN.encode())]
    with sending(fake):
        observe.event("noted")
        until(lambda: fake.requests >= 2)
    assert TOKEN not in capsys.readouterr().err
    assert TOKEN not in repr(replace(QUICK, url=fake.url))


def test_a_refusal_that_goes_on_is_said_once(fake: Axiom, capsys: pytest.CaptureFixture[str]) -> None:
    """What says it goes to the sink too, and would be refused and said again for ever."""
    fake.replies = [Reply(401)] * 1000
    before = dropped("refused")
    with sending(fake):
        for number in range(3):
            observe.event("noted", number=number)
            until(lambda number=number: fake.requests > number)
        until(lambda: dropped("refused") >= before + 4)
    assert capsys.readouterr().err.count("log_events_refused") == 1
    assert fake.requests < 10


def test_a_sink_that_asks_for_no_pause_is_given_one(fake: Axiom) -> None:
    fake.replies = [Reply(429, headers={"retry-after": "0"})] * 1000
    with sending(fake):
        observe.event("noted")
        until(lambda: fake.requests >= 1)
        started = time.monotonic()
        until(lambda: fake.requests >= 3)
        assert time.monotonic() - started > 0.3
        fake.replies = []
        until(lambda: "noted" in fake.names)


def test_a_limit_is_waited_for_until_it_begins_anew(fake: Axiom) -> None:
    """Axiom says so in Unix seconds, and sends no `Retry-After`."""
    reset_at = int(time.time()) + 2
    fake.replies = [Reply(429, headers={"x-ratelimit-reset": str(reset_at)})]
    with sending(fake):
        observe.event("noted")
        until(lambda: "noted" in fake.names)
    assert time.time() >= reset_at


def test_what_a_long_answer_says_has_failed_is_counted(fake: Axiom) -> None:
    """It names each event that failed, and is read to a bound."""
    before, sent_before = dropped("refused"), sent()
    failures = ",".join(['{"timestamp":"2026-01-01T00:00:00Z","error":"no"}'] * 5000)
    fake.replies = [Reply(200, f'{{"ingested":0,"failed":2000000,"failures":[{failures}]}}'.encode())]
    with sending(fake):
        observe.event("noted")
        until(lambda: "log_events_refused" in fake.names)
        until(lambda: sent() > sent_before)
    assert (dropped("refused") - before, sent() - sent_before) == (1, 1)


def test_a_batch_that_is_on_its_way_at_the_stop_is_counted(
    fake: Axiom, capsys: pytest.CaptureFixture[str]
) -> None:
    before = dropped("unsent")
    fake.may_answer.clear()
    with sending(fake) as sink:
        observe.event("noted")
        until(lambda: fake.requests == 1)
        observe.event("left behind")
        sink.stop(within_s=0.2)
        fake.may_answer.set()
    assert dropped("unsent") - before == 2
    assert '"count":2' in capsys.readouterr().err


def test_many_threads_do_not_confuse_its_bound(fake: Axiom) -> None:
    sink = AxiomSink(replace(QUICK, url=fake.url, queue=1000))
    sink.start()
    threads = [threading.Thread(target=lambda: [sink.put(b"{}") for _ in range(20_000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.stop(within_s=10)
    assert sink._size_bytes == 0


def test_a_token_that_no_header_can_carry_is_refused_at_the_start(tmp_path: Path) -> None:
    for name, value in (("AXIOM_TOKEN", "xaat-secret\n"), ("METRICS_TOKEN", "ö"), ("AXIOM_TOKEN", " a")):
        with pytest.raises(ConfigError, match="what a header can carry") as refused:
            load_settings(tmp_path, {f"BASALT_TELEMETRY_{name}": value})
        assert "secret" not in str(refused.value)
