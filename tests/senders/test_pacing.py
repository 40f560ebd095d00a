"""How fast a provider is asked: decisions by tables, and the client over a real connection."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from basalt.http import OutgoingAnswer, OutgoingClient
from basalt.senders import Outcome
from basalt.senders.pacing import Circuit, Go, Later, Pace, TokenBucket
from basalt.senders.provider_client import ProviderClient
from tests.fakes.small_server import Received, Reply, small_server

pytestmark = pytest.mark.req("P13")


@pytest.mark.parametrize(
    ("rate_per_s", "burst", "asked_at", "waits"),
    [
        (0.0, 1, [0, 0, 0, 0], [0, 0, 0, 0]),
        (2.0, 1, [0, 0, 0], [0, 0.5, 1.0]),
        (2.0, 1, [0, 1, 1.25, 5], [0, 0, 0.25, 0]),
        (2.0, 3, [0, 0, 0, 0], [0, 0, 0, 0.5]),
        (2.0, 3, [0, 0, 0, 0.5, 0.5], [0, 0, 0, 0, 0.5]),
        (2.0, 1, [0, 0, 0, 0], [0, 0.5, 1.0, None]),
        (0.1, 1, [0, 0, 11], [0, None, 0]),
    ],
)
def test_a_bucket_gives_turns_at_its_rate(
    rate_per_s: float, burst: int, asked_at: list[float], waits: list[float | None]
) -> None:
    bucket = TokenBucket(rate_per_s, burst=burst)
    assert [bucket.take(now, longest_wait_s=1.2) for now in asked_at] == waits


def test_whoever_gets_no_turn_is_told_a_time_of_its_own() -> None:
    pace = Pace(rate_per_s=2.0, longest_wait_s=1.0)
    asked = [pace.admit(0.0) for _ in range(6)]
    assert asked[:3] == [Go(0), Go(0.5), Go(1.0)]
    assert asked[3:] == [Later(wait_s, "rate_limited") for wait_s in (2.0, 2.5, 3.0)]
    assert [pace.admit(later.after_s) for later in asked[3:]] == [Go(0)] * 3


@pytest.mark.parametrize(
    ("readings", "is_open"),
    [
        (["failed"] * 2, False),
        (["failed"] * 3, True),
        (["failed", "failed", "served", "failed", "failed"], False),
        (["failed", "failed", "throttled", "failed"], False),
        (["served", "failed", "failed", "failed"], True),
    ],
)
def test_a_circuit_opens_by_failures_in_a_row(readings: list[str], is_open: bool) -> None:
    pace = Pace(threshold=3)
    for now, reading in enumerate(readings):
        pace.note(reading, float(now), began_at=now - 0.5)  # type: ignore[arg-type]
    assert pace.is_open == is_open


def test_while_a_circuit_is_open_one_at_a_time_tries() -> None:
    pace = Pace(threshold=1, first_rest_s=2.0, longest_rest_s=5.0, probe_limit_s=30.0)
    assert pace.note("failed", 10.0, began_at=9.0)
    assert pace.admit(11.0) == Later(1.0, "circuit_open")
    assert pace.admit(12.0) == pace.admit(12.0) == Go()  # two come at the same moment
    assert pace.begin(12.0) is None
    assert pace.begin(12.0) == Later(2.0, "circuit_open")  # by when it is known what became of the one
    assert pace.note("failed", 13.0, began_at=12.0)
    assert pace.admit(13.0) == Later(4.0, "circuit_open")
    assert pace.begin(17.0) is None
    assert pace.note("failed", 18.0, began_at=17.0)
    assert pace.admit(18.0) == Later(5.0, "circuit_open")  # not beyond the longest rest
    assert pace.begin(23.0) is None
    pace.note("served", 23.5, began_at=23.0)
    assert pace.admit(23.5) == Go()
    assert pace.note("failed", 24.0, began_at=23.6)
    assert pace.admit(24.0) == Later(2.0, "circuit_open")  # what was before is forgotten


def test_what_began_before_the_circuit_opened_does_not_keep_it_open() -> None:
    circuit = Circuit(threshold=1, first_rest_s=2.0, longest_rest_s=60.0, probe_limit_s=30.0)
    assert circuit.note_failure(10.0, began_at=9.0)
    assert not circuit.note_failure(11.0, began_at=9.5)
    assert circuit.rest_s(11.0) == 1.0


def test_a_try_that_never_reports_is_forgotten() -> None:
    pace = Pace(threshold=1, first_rest_s=1.0, probe_limit_s=30.0)
    pace.note("failed", 0.0, began_at=0.0)
    assert pace.begin(1.0) is None
    assert pace.begin(30.5) == Later(0.5, "circuit_open")
    assert pace.begin(31.0) is None


@pytest.mark.parametrize(
    ("reading", "retry_after_s", "pause_s"),
    [
        ("throttled", 30.0, 30.0),
        ("throttled", None, 1.0),
        ("throttled", 0.0, 1.0),
        ("failed", 0.0, 0.0),
        ("throttled", 1e9, 3600.0),
        ("failed", 20.0, 20.0),
        ("served", None, 0.0),
    ],
)
def test_patience_is_asked_of_everybody(reading: str, retry_after_s: float | None, pause_s: float) -> None:
    pace = Pace()
    pace.note(reading, 100.0, began_at=99.0, retry_after_s=retry_after_s)  # type: ignore[arg-type]
    assert pace.admit(100.0) == (Later(pause_s, "provider_paused") if pause_s else Go())
    assert pace.begin(100.0 + pause_s) is None


def test_a_shorter_patience_does_not_end_a_longer_one() -> None:
    pace = Pace()
    pace.note("throttled", 0.0, began_at=0.0, retry_after_s=60.0)
    pace.note("throttled", 1.0, began_at=0.0, retry_after_s=5.0)
    assert pace.admit(30.0) == Later(30.0, "provider_paused")


def test_nothing_saved_up_is_let_loose_after_a_pause() -> None:
    pace = Pace(rate_per_s=1.0, burst=10)
    pace.note("throttled", 0.0, began_at=0.0, retry_after_s=60.0)
    assert [pace.admit(60.0) for _ in range(3)] == [Go(0), Go(1.0), Go(2.0)]


@pytest.fixture
async def http() -> AsyncIterator[OutgoingClient]:
    client = OutgoingClient()
    yield client
    await client.close()


@contextmanager
def answering(*replies: Reply, pause_s: float = 0.0) -> Iterator[tuple[str, list[float]]]:
    """A provider that says these things one after the other, and the last one for ever; when it was asked."""
    asked_at: list[float] = []

    def answer(_: Received) -> Reply:
        asked_at.append(time.monotonic())
        time.sleep(pause_s)
        return replies[min(len(asked_at), len(replies)) - 1]

    with small_server(answer) as url:
        yield url, asked_at


async def ask(client: ProviderClient, url: str) -> int | Outcome:
    answer = await client.ask(url, headers={}, json={})
    return answer.status if isinstance(answer, OutgoingAnswer) else answer


async def test_requests_keep_to_the_rate(http: OutgoingClient) -> None:
    client = ProviderClient("local", http, Pace(rate_per_s=20.0))
    with answering(Reply()) as (url, asked_at):
        assert await asyncio.gather(*(ask(client, url) for _ in range(6))) == [200] * 6
    assert asked_at[-1] - asked_at[0] >= 0.2


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_holds_back_everybody(http: OutgoingClient, form: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    client = ProviderClient("local", http, Pace())
    with answering(Reply(429, headers={"retry-after": "60" if form == "seconds" else date})) as (
        url,
        asked_at,
    ):
        assert await ask(client, url) == 429
        held = await ask(client, url)
    assert isinstance(held, Outcome)
    assert (held.verdict, held.error_code) == ("retry", "provider_paused")
    assert 55 < (held.retry_after_s or 0) <= 60
    assert len(asked_at) == 1


async def test_whoever_comes_while_one_tries_does_not_wait_for_long(http: OutgoingClient) -> None:
    client = ProviderClient("local", http, Pace(threshold=1, first_rest_s=0.2, probe_limit_s=30.0))
    with answering(Reply(503), Reply(200, pause_s=0.2)) as (url, _):
        assert await ask(client, url) == 503
        await asyncio.sleep(0.25)
        trying = asyncio.create_task(ask(client, url))
        await asyncio.sleep(0)
        held = await ask(client, url)
        assert isinstance(held, Outcome)
        assert (held.error_code, held.retry_after_s) == ("circuit_open", pytest.approx(0.2))
        assert await trying == 200


async def test_patience_that_is_asked_for_with_success_holds_back_nobody(http: OutgoingClient) -> None:
    client = ProviderClient("local", http, Pace())
    with answering(Reply(200, headers={"retry-after": "60"}), Reply(422, headers={"retry-after": "60"})) as (
        url,
        _,
    ):
        assert [await ask(client, url) for _ in range(3)] == [200, 422, 422]


async def test_a_provider_that_is_down_is_left_in_peace_and_tried_again(
    http: OutgoingClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client = ProviderClient("local", http, Pace(threshold=3, first_rest_s=0.2))
    with answering(*[Reply(503)] * 3, Reply(200)) as (url, asked_at):
        assert [await ask(client, url) for _ in range(3)] == [503] * 3
        held = await asyncio.gather(*(ask(client, url) for _ in range(20)))
        assert {answer.error_code for answer in held if isinstance(answer, Outcome)} == {"circuit_open"}
        assert len(asked_at) == 3
        await asyncio.sleep(0.25)
        answers = await asyncio.gather(*(ask(client, url) for _ in range(8)))
        assert answers.count(200) == 1  # the one that tried
        assert await ask(client, url) == 200
    log = capsys.readouterr().err
    assert log.count("provider_circuit_opened") == log.count("provider_circuit_closed") == 1


async def test_a_bounded_number_is_asked_at_a_time(http: OutgoingClient) -> None:
    client = ProviderClient("local", http, Pace(), concurrency=2)
    with answering(Reply(), pause_s=0.1) as (url, asked_at):
        await asyncio.gather(*(ask(client, url) for _ in range(6)))
    assert asked_at[-1] - asked_at[0] >= 0.2


async def test_what_never_left_is_told_from_what_may_have_arrived(http: OutgoingClient) -> None:
    client = ProviderClient("local", http, Pace(), timeout_s=0.2)
    with answering(Reply(), pause_s=0.5) as (url, asked_at):
        ends = [await ask(client, url)]
        assert len(asked_at) == 1
    ends += [await ask(client, url), await ask(client, "ftp://localhost/")]  # nobody listens any more
    assert [(end.verdict, end.error_code) for end in ends if isinstance(end, Outcome)] == [
        ("unknown", "timeout"),
        ("retry", "unreachable"),
        ("retry", "invalid_url"),
    ]
    assert all(end.response["message"] for end in ends if isinstance(end, Outcome))
