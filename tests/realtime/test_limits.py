"""Every limit has its effect (protocol §16), on a server whose limits are tight; and the rates, by a clock of the
test's own."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import httpx2
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from basalt.realtime.limits import WINDOW_S, Rate
from tests.projects import write_project
from tests.realtime.conftest import Harbour
from tests.realtime.harbour import CONFIG
from tests.realtime.phoenix import LIMIT_S, Message, Phoenix, socket_url
from tests.server import Server, running_server

pytestmark = pytest.mark.req("P7", "S9")

OK = {"status": "ok", "response": {}}
MIGRATION = """
create policy "all read" on realtime.messages for select to anon using (true);
create policy "all write" on realtime.messages for insert to anon with check (true);
"""
PRIVATE = {"private": True}
TIGHT = {
    "BASALT_REALTIME_REFUSAL_DELAY": "0",
    "BASALT_REALTIME_MAX_SOCKETS": "4",
    "BASALT_REALTIME_CHANNELS_PER_SOCKET": "3",
    "BASALT_REALTIME_PRIVATE_ONLY": "true",
    "BASALT_REALTIME_JOINS_PER_SECOND": "1",
    "BASALT_REALTIME_MESSAGES_PER_SECOND": "5",
    "BASALT_REALTIME_PRESENCE_MESSAGES_PER_SECOND": "1",
    "BASALT_REALTIME_PRESENCE_CALLS": "5",
    "BASALT_REALTIME_MAX_PAYLOAD": "2000",
    "BASALT_REALTIME_SILENCE_LIMIT": "2",
    "BASALT_REALTIME_IDLE_LIMIT": "3",
}


@pytest.fixture(scope="module")
def tight_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    files = {"config.toml": CONFIG, "20260101000000_policies.sql": MIGRATION}
    project = write_project(tmp_path_factory.mktemp("tight"), files)
    with running_server(project, **TIGHT) as server:
        yield server


@pytest.fixture
async def tight(tight_server: Server) -> AsyncIterator[Harbour]:
    with psycopg.connect(tight_server.database_url, autocommit=True) as sql:
        async with AsyncExitStack() as stack:
            yield Harbour(tight_server, sql, stack)


def ended(messages: list[Message], name: str, reason: str) -> None:
    told, closed = messages
    assert told.short == (
        "system",
        {"extension": "system", "status": "error", "message": reason, "channel": name},
    )
    assert (closed.event, closed.payload) == ("phx_close", {})


async def beat(phx: Phoenix) -> None:
    while True:
        await phx.send("phoenix", "heartbeat")
        await asyncio.sleep(0.5)


# In this order: the rates are averages over a minute, and what one test uses up is missing in the next.


async def test_a_socket_that_says_nothing_or_joins_nothing_is_closed_with_a_reason(
    tight: Harbour, name: str
) -> None:
    """After a limit each; one that joins and lives is left alone."""
    silent, idle, lively = [await tight.socket() for _ in range(3)]
    for phx in (silent, lively):
        await phx.join(name, PRIVATE)
    async with asyncio.TaskGroup() as group:
        beats = [group.create_task(beat(phx)) for phx in (idle, lively)]
        assert await silent.closed() == (1001, "Nothing was heard for too long")
        assert await idle.closed() == (1001, "No channel was joined for too long")
        for task in beats:
            task.cancel()
    assert {message.topic for message in await lively.drain()} == {"phoenix"}


async def test_a_project_may_allow_private_channels_alone(tight: Harbour, name: str) -> None:
    phx = await tight.socket()
    assert await phx.refused_join(name) == "PrivateOnly: This project only allows private channels"
    await phx.join(name, PRIVATE)


async def test_more_sockets_than_allowed_are_refused_at_the_handshake(tight: Harbour) -> None:
    sockets = [await tight.socket() for _ in range(4)]
    url = socket_url(tight.server.url, {"apikey": tight.server.anon_key})
    with pytest.raises(InvalidStatus) as caught:
        async with connect(url):
            pass
    assert caught.value.response.status_code == 429
    assert json.loads(caught.value.response.body or b"") == {"error": "Too many connected users"}
    await sockets[0].close()
    async with asyncio.timeout(5):
        while True:
            try:
                phx = await tight.socket()
            except InvalidStatus:
                continue
            break
    assert await phx.drain() == []


async def test_more_channels_than_allowed_are_refused_and_one_may_be_left_for_another(
    tight: Harbour, name: str
) -> None:
    phx = await tight.socket()
    for number in range(3):
        await phx.join(f"{name}:{number}", PRIVATE)
    assert await phx.refused_join(f"{name}:3", PRIVATE) == "ChannelRateLimitReached: Too many channels"
    await phx.send(f"realtime:{name}:0", "phx_leave")
    await phx.take(2)
    await phx.join(f"{name}:3", PRIVATE)


async def test_a_payload_over_the_limit_of_the_project_is_refused_everywhere(
    tight: Harbour, name: str
) -> None:
    phx = await tight.socket()
    await phx.join(name, {"private": True, "broadcast": {"ack": True, "self": True}})
    ref = await phx.push(f"realtime:{name}", "e", "x" * 2000)
    reply = await phx.next()
    assert (reply.ref, reply.payload) == (ref, {"status": "error", "response": {}})
    with tight.server.client() as http:
        answer = http.post(f"/realtime/v1/api/broadcast/{name}/events/e", json="x" * 2000)
        assert (answer.status_code, answer.json()) == (
            422,
            {"errors": {"payload": ["Payload size exceeds tenant limit"]}},
        )
        message = {"topic": name, "event": "e", "payload": {"a": "x" * 2000}}
        answer = http.post("/realtime/v1/api/broadcast", json={"messages": [message]})
        assert (answer.status_code, answer.json()) == (
            422,
            {"errors": {"messages": [{"payload": ["Payload size exceeds tenant limit"]}]}},
        )
    await phx.track(f"realtime:{name}", {"a": "x" * 2000})
    ended(await phx.take(2), name, "Track message size exceeded")


async def test_a_channel_that_tracks_without_end_is_ended(tight: Harbour, name: str) -> None:
    phx = await tight.socket()
    await phx.join(name, {"private": True, "presence": {"enabled": False}})
    for number in range(5):
        ref = await phx.send(f"realtime:{name}", "presence", {"event": "untrack", "n": number})
        assert (await phx.next()).ref == ref
    await phx.untrack(f"realtime:{name}")
    ended(await phx.take(2), name, "Client presence rate limit exceeded")
    await phx.join(name, PRIVATE)  # with a count of its own
    ref = await phx.untrack(f"realtime:{name}")
    assert (await phx.next()).ref == ref


async def test_presence_messages_over_the_limit_end_the_channel(tight: Harbour, name: str) -> None:
    sockets = [await tight.socket() for _ in range(3)]
    told: list[Message] = []
    for number in range(20):  # sixty a minute, and five of each channel
        phx = sockets[number % 3]
        await phx.join(f"{name}:{number}", PRIVATE)
        for _ in range(5):
            await phx.untrack(f"realtime:{name}:{number}")
            told = await phx.take(1)
            if told[0].event == "system":
                ended(
                    [*told, *await phx.take(1)], f"{name}:{number}", "Too many presence messages per second"
                )
                return
        await phx.send(f"realtime:{name}:{number}", "phx_leave")
        await phx.take(2)
    pytest.fail("no limit was met")


async def test_messages_over_the_limit_end_the_channel_and_are_refused_over_http(
    tight: Harbour, name: str
) -> None:
    phx = await tight.socket()
    await phx.join(name, PRIVATE)
    for _ in range(301):  # five a second in a minute
        await phx.broadcast(f"realtime:{name}", "e", {})
    ended(await phx.take(2), name, "Too many messages per second")
    with tight.server.client() as http:
        answer = http.post(f"/realtime/v1/api/broadcast/{name}/events/e", json={})
        assert_over_rate(answer, "You have exceeded your rate limit")
        message = {"topic": name, "event": "e", "payload": {}}
        answer = http.post("/realtime/v1/api/broadcast", json={"messages": [message] * 2})
        assert_over_rate(answer, "Too many messages to broadcast, please reduce the batch size")
    hearer = await tight.socket()
    await hearer.join(name, PRIVATE)
    written_up_to = tight.sql.execute("select pg_current_wal_lsn()::text").fetchone()
    tight.sql.execute("select realtime.send('{}', 'e', %s, true)", (name,))
    assert written_up_to is not None
    await until_read(tight, str(written_up_to[0]))
    assert await hearer.drain() == []  # what the database says is skipped


async def until_read(tight: Harbour, written_up_to: str) -> None:
    """The log was taken beyond this place."""
    with tight.server.client(tight.server.secret_key) as http:
        async with asyncio.timeout(LIMIT_S):
            while lsn(http.get("/studio/realtime.json").json()["realtime"]["position"]) <= lsn(written_up_to):
                await asyncio.sleep(0.05)


def lsn(text: str) -> tuple[int, int]:
    high, low = text.partition(".")[0].split("/")
    return int(high, 16), int(low, 16)


def assert_over_rate(answer: httpx2.Response, message: str) -> None:
    assert (answer.status_code, answer.json()) == (429, {"message": message})
    assert answer.headers["x-rate-limit"] == "5"
    assert answer.headers["x-rate-limit-remaining"] == "0"
    assert float(answer.headers["x-rate-rolling"]) > 5


async def test_joins_over_the_limit_are_refused_and_whoever_is_there_is_told_when_the_server_stops(
    tight: Harbour, name: str
) -> None:
    """The last test with this server: nobody can join any more."""
    guest, phx = await tight.socket(), await tight.socket()
    await guest.join(name, PRIVATE)
    for _ in range(61):
        ref = await phx.ask_join(name, PRIVATE)
        reply = await phx.until("phx_reply")
        assert reply.ref == ref
        if reply.payload["status"] == "error":
            break
    assert reply.payload["response"] == {"reason": "ClientJoinRateLimitReached: Too many joins per second"}
    assert await phx.closed() == (1008, "ClientJoinRateLimitReached: Too many joins per second")
    tight.server.process.send_signal(signal.SIGINT)
    assert (await guest.next()).short == (
        "system",
        {"extension": "system", "status": "ok", "message": "Server requested disconnect"},
    )
    assert (await guest.closed())[0] == 1012  # clients come back by themselves


# Rates


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_and_a_minute_of_it_does_not() -> None:
    rate = Rate(10, Clock(5000.0))
    assert all(rate.count() for _ in range(600))
    assert not rate.count()


def test_what_is_over_counts_on_so_that_who_does_not_stop_stays_out() -> None:
    clock = Clock(0.0)
    rate = Rate(1, clock)
    assert not rate.count(100)
    clock.now = WINDOW_S - 1
    assert not rate.count(1)
    clock.now = WINDOW_S + 1
    assert rate.count(1)


def test_no_limit_is_no_limit() -> None:
    rate = Rate(0, Clock(1.0))
    assert rate.count(10**9)
    assert rate.remaining() == 0


EVENTS = st.lists(
    st.tuples(st.floats(0, 90) | st.integers(0, 200).map(float), st.integers(0, 50)), max_size=40
)


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.integers(1, 20), st.floats(0, 1e6))
def test_a_rate_sums_up_the_last_sixty_seconds(
    events: list[tuple[float, int]], limit: int, start: float
) -> None:
    clock = Clock(start)
    rate = Rate(limit, clock)
    counted: list[tuple[int, int]] = []
    for pause, number in events:
        clock.now += pause
        counted.append((int(clock.now), number))
        recent = sum(each for second, each in counted if second > int(clock.now) - WINDOW_S)
        assert rate.count(number) == (recent <= limit * WINDOW_S)
        assert rate.average() == recent / WINDOW_S
        assert rate.remaining() == max(0, int(limit - recent / WINDOW_S))
        last = sum(each for second, each in counted if second == int(clock.now) - 1)
        assert rate.current() == last


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-100, 100), max_size=20))
def test_a_clock_that_goes_back_breaks_nothing(steps: list[float]) -> None:
    clock = Clock(1000.0)
    rate = Rate(1, clock)
    for step in steps:
        clock.now = max(0.0, clock.now + step)
        rate.count()
        assert 0 < rate.average() <= len(steps) / WINDOW_S
