"""`basalt.track`: events reach Mixpanel once, many in one request, whatever Mixpanel does meanwhile."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import orjson
import pytest

from basalt.jobs import TrackJobs
from basalt.postgres import DatabaseAccess
from tests.fakes.mixpanel import TOKEN, FakeMixpanel
from tests.fakes.small_server import Reply, small_server
from tests.jobs.engines import Sql, connected, running_engine, settings_with

pytestmark = pytest.mark.req("P13")

FAST = "[basalt.queues.default]\nfirst_delay = 0.01\nlongest_delay = 0.01\nconcurrency = 50\n"
JOBS = "select count(*) from basalt.jobs"


@pytest.fixture
def fake() -> Iterator[FakeMixpanel]:
    fake = FakeMixpanel()
    with small_server(fake.answer) as fake.url:
        yield fake


@asynccontextmanager
async def tracking(
    database: DatabaseAccess, fake: FakeMixpanel, *, environment: str = "production", token: str = TOKEN
) -> AsyncIterator[Sql]:
    place = "sandbox" if environment == "sandbox" else "providers"
    jobs = TrackJobs(
        settings_with(
            f'[notify]\nenvironment = "{environment}"\n[notify.{place}.mixpanel]\ntoken = "{token}"\n'
            f'api_url = "{fake.url}"\n'
        )
    )
    try:
        async with running_engine(database, jobs.handlers, FAST), connected(database) as sql:
            yield sql
    finally:
        await jobs.close()


async def enqueue(sql: Sql, key: str | None = None, **payload: object) -> int:
    text = orjson.dumps({"event": "habit_done", "distinct_id": "user-1", **payload}).decode()
    return int(await sql.value("select basalt.enqueue('basalt.track', %s::jsonb, key => %s)", text, key))


async def test_an_event_arrives_as_it_was_told(database: DatabaseAccess, fake: FakeMixpanel) -> None:
    async with tracking(database, fake, environment="sandbox") as sql:
        await enqueue(sql, properties={"streak": 7, "ü": [1]}, time=1_772_000_000)
        await enqueue(sql, event="opened", properties={"token": "stolen", "distinct_id": "x"})
        await sql.becomes(0, JOBS)
    told, default = sorted(fake.events.values(), key=lambda event: event["event"], reverse=True)
    told, default = (told, default) if told["event"] == "habit_done" else (default, told)
    assert told["properties"] | {"$insert_id": ""} == {
        "streak": 7,
        "ü": [1],
        "distinct_id": "user-1",
        "time": 1_772_000_000_000,
        "$insert_id": "",
    }
    assert default["properties"]["distinct_id"] == "user-1"
    assert default["properties"]["time"] > 1_700_000_000_000


async def test_events_that_wait_together_share_a_request(
    database: DatabaseAccess, fake: FakeMixpanel
) -> None:
    async with connected(database) as sql:
        await sql.rows(
            "select basalt.enqueue('basalt.track', jsonb_build_object('event', 'e', 'distinct_id', n::text)) "
            "from generate_series(1, 200) as n"
        )
    async with tracking(database, fake) as sql:
        await sql.becomes(0, JOBS)
    assert len(fake.events) == 200
    assert fake.requests <= 40


async def test_a_lost_answer_counts_no_event_twice(database: DatabaseAccess, fake: FakeMixpanel) -> None:
    fake.is_taken_first = True
    fake.next_replies = [Reply(is_cut=True), Reply(500), Reply(429)]
    async with tracking(database, fake) as sql:
        await enqueue(sql, key="habit-1-done")
        await sql.becomes(0, JOBS)
    assert fake.requests >= 3
    assert len(fake.events) == 1


async def test_an_event_that_mixpanel_refuses_costs_only_itself(
    database: DatabaseAccess, fake: FakeMixpanel
) -> None:
    async with connected(database) as sql:
        await enqueue(sql, distinct_id="anonymous")
        await enqueue(sql, time=-5)
        await enqueue(sql, distinct_id=7)
        await enqueue(sql, surprise=True)
        for number in range(5):
            await enqueue(sql, distinct_id=f"user-{number}")
    async with tracking(database, fake) as sql:
        await sql.becomes(0, JOBS)
        errors = await sql.rows("select reason from basalt.dead_jobs order by id")
    assert [("distinct_id" in error, "time" in error) for (error,) in errors][:2] == [
        (True, False),
        (False, True),
    ]
    assert all("the payload is not valid" in error for (error,) in errors[2:])
    assert len(errors) == 4
    assert len(fake.events) == 5


async def test_in_the_inbox_environment_nothing_leaves(database: DatabaseAccess, fake: FakeMixpanel) -> None:
    async with tracking(database, fake, environment="inbox") as sql:
        await enqueue(sql)
        await sql.becomes(0, JOBS)
    assert fake.requests == 0


async def test_without_mixpanel_an_event_is_a_dead_letter(
    database: DatabaseAccess, fake: FakeMixpanel
) -> None:
    async with tracking(database, fake, token="") as sql:
        await enqueue(sql)
        await sql.becomes(1, "select count(*) from basalt.dead_jobs")
    assert fake.requests == 0
