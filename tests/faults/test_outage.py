"""PostgreSQL dies under load: every request is answered, and when it is back so is the service."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psycopg
import pytest

from tests.faults.conftest import make_project
from tests.server import Server, running_server


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[Server]:
    with running_server(make_project(tmp_path / "project")) as running:
        yield running


def postmaster_of(server: Server) -> int:
    with psycopg.connect(server.database_url) as connection:
        row = connection.execute("select pg_backend_pid()").fetchone()
        assert row is not None
        # The parent of a backend is the postmaster: the fourth field of its stat line.
        return int(Path(f"/proc/{row[0]}/stat").read_text().rsplit(")", 1)[1].split()[1])


@pytest.mark.req("P1", "P5")
async def test_requests_during_an_outage_are_answered_and_the_service_recovers(fragile: Server) -> None:
    statuses: Counter[int] = Counter()
    acknowledged: list[str] = []
    is_over = asyncio.Event()

    async with httpx2.AsyncClient(
        base_url=fragile.url, headers={"apikey": fragile.secret_key}, timeout=20
    ) as client:

        async def read() -> None:
            while not is_over.is_set():
                answer = await client.get("/rest/v1/films?select=title&limit=1")
                statuses[answer.status_code] += 1
                if answer.status_code == 503:
                    assert "retry-after" in answer.headers
                    await asyncio.sleep(0.02)

        async def write(writer: int) -> None:
            number = 0
            while not is_over.is_set():
                number += 1
                title = f"{writer}-{number}"
                answer = await client.post("/rest/v1/films", json={"title": title})
                statuses[answer.status_code] += 1
                if answer.status_code == 201:
                    acknowledged.append(title)
                else:
                    await asyncio.sleep(0.02)

        async def disturb() -> None:
            await asyncio.sleep(1)
            os.kill(postmaster_of(fragile), signal.SIGKILL)
            await back(client)
            await asyncio.sleep(0.5)
            is_over.set()

        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(read())
                group.create_task(write(number))
            group.create_task(disturb())

        assert set(statuses) <= {200, 201, 503}, statuses
        assert statuses[503] > 0
        answer = await client.get(
            "/rest/v1/films?select=title&limit=1000000", headers={"range-unit": "items"}
        )
        assert answer.status_code == 200

    with psycopg.connect(fragile.database_url) as connection:
        kept = {title for (title,) in connection.execute("select title from public.films")}
    assert set(acknowledged) <= kept


async def back(client: httpx2.AsyncClient) -> None:
    for _ in range(600):
        await asyncio.sleep(0.05)
        if (await client.get("/rest/v1/films?limit=1")).status_code == 503:
            break
    for _ in range(600):
        if (await client.get("/rest/v1/films?limit=1")).status_code == 200:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the service did not come back")
