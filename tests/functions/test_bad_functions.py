"""Functions that misbehave: clear errors, clear records, and nothing else disturbed."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from tests.functions.calling import call, error_of, logged, wait_for
from tests.server import Server

pytestmark = pytest.mark.req("P9")


def is_alive(number: int) -> bool:
    """A zombie has ended, whoever has still to take notice."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@asynccontextmanager
async def good_function_meanwhile(server: Server) -> AsyncIterator[httpx2.AsyncClient]:
    """A good function is called again and again; every call must succeed, and soon."""
    stopping = asyncio.Event()
    headers = {"apikey": server.publishable_key}
    async with httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=20) as client:

        async def hammer() -> None:
            while not stopping.is_set():
                started = time.monotonic()
                answer = await client.post("/functions/v1/echo")
                assert answer.status_code == 200
                assert time.monotonic() - started < 3

        hammers = [asyncio.create_task(hammer()) for _ in range(2)]
        try:
            yield client
        finally:
            stopping.set()
            await asyncio.gather(*hammers)


@pytest.mark.parametrize(
    "how", ["exit", "interrupt", "base", "mute", "group", "deep", "status", "details", "header"]
)
def test_odd_exceptions_are_failures_of_one_call(server: Server, how: str) -> None:
    before = call(server, "bad?how=nothing").json()
    answer = call(server, f"bad?how={how}", headers={"x-request-id": f"odd-{how}"})
    assert (answer.status_code, error_of(answer)["code"]) == (500, "SERVER_ERROR")
    wait_for(lambda: any(line["request_id"] == f"odd-{how}" for line in logged(server, "function_crashed")))
    assert call(server, "bad?how=nothing").json() == before  # the same process


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("exits-early", "ended while it was loaded"),
        ("raises-early", "raises-early/index.py, line 5: Mute: Mute"),
        ("misses", "misses/index.py, line 1: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("sync", "`handler` must be an async function"),
    ],
)
def test_functions_that_do_not_load_say_why(server: Server, name: str, problem: str) -> None:
    answer = call(server, name)
    assert (answer.status_code, error_of(answer)["code"]) == (503, "BOOT_ERROR")
    assert problem in error_of(answer)["message"]


@pytest.mark.parametrize("how", ["binary", "flood"])
def test_any_output_is_taken(server: Server, how: str) -> None:
    assert call(server, f"bad?how={how}").status_code == 200
    assert call(server, "bad?how=nothing").status_code == 200
    assert max(map(len, server.log.read_text().splitlines())) < 200_000


@pytest.mark.parametrize("how", ["close-socket", "garbage", "segfault", "stop-loop"])
async def test_a_process_that_breaks_is_replaced(server: Server, how: str) -> None:
    async with good_function_meanwhile(server) as client:
        before = (await client.post("/functions/v1/bad?how=nothing")).json()
        answer = await client.post(f"/functions/v1/bad?how={how}")
        assert error_of(answer)["code"] == ("SERVER_ERROR" if how == "stop-loop" else "FUNCTION_CRASHED")
        after = (await client.post("/functions/v1/bad?how=nothing")).json()
        assert after != before
    wait_for(lambda: not is_alive(before))


async def test_what_a_function_forks_ends_with_it(server: Server) -> None:
    async with good_function_meanwhile(server) as client:
        process, child = (await client.post("/functions/v1/bad?how=fork")).json()
        _, returning = (await client.post("/functions/v1/bad?how=fork-and-return")).json()
        _, daemon = (await client.post("/functions/v1/bad?how=daemon")).json()
        await asyncio.to_thread(
            wait_for, lambda: not is_alive(returning)
        )  # it has no voice, and its loop ends
        assert is_alive(child)
        assert is_alive(daemon)
        assert (await client.post("/functions/v1/bad?how=nothing")).json() == process
        assert (await client.post("/functions/v1/bad?how=segfault")).status_code == 502
    wait_for(lambda: not is_alive(child))
    wait_for(lambda: not is_alive(daemon), limit_s=20)


async def test_a_handler_that_does_not_listen_costs_its_process(server: Server) -> None:
    process = call(server, "bad?how=nothing").json()
    async with good_function_meanwhile(server) as client:
        with pytest.raises(httpx2.TimeoutException):
            await client.post("/functions/v1/bad?how=deaf", timeout=0.5)
    wait_for(lambda: not is_alive(process))
    assert call(server, "bad?how=thread").status_code == 200
    assert call(server, "bad?how=zombie").status_code == 200


def test_a_process_that_has_grown_too_large_is_replaced(server: Server) -> None:
    process = call(server, "leaky").json()
    wait_for(lambda: not is_alive(process), limit_s=15)
    assert any(line["function"] == "leaky" for line in logged(server, "function_recycled"))


def test_headers_and_bodies_of_callers_are_bounded(server: Server) -> None:
    answer = call(server, "echo", content=b"x" * (11 * 1024 * 1024))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")
    assert call(server, "echo?" + "&".join(["a=1"] * 2000)).status_code in (200, 400)
