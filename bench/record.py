"""Which statements a request sends: the gateway's own application answers it once, and the lanes tell."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote

from basalt import observe
from basalt.gateway.app import Gateway
from basalt.postgres import LanePool, Query, Result
from bench.pgbench import Pipeline
from bench.requests import fill, request_headers
from bench.scenarios import Scenario
from bench.server import Server


async def record_pipeline(gateway: Gateway, scenario: Scenario, server: Server, token: str) -> Pipeline:
    """What one request of the scenario sends. Raises RuntimeError when another literal makes another statement, which
    would have to be planned anew, or is no parameter at all."""
    headers = request_headers(scenario, server, token)

    async def record(number: int) -> list[Query]:
        target, body = fill(scenario.target, number), fill(scenario.body, number)
        return await record_queries(gateway, scenario.method, target, headers, body.encode())

    numbers = scenario.numbers
    if not numbers:
        return Pipeline(await record(0))
    number = numbers[len(numbers) // 2]  # of several digits, which occur nowhere else
    queries, others = await record(number), await record(numbers[-1])
    if [query.sql for query in queries] != [query.sql for query in others]:
        raise RuntimeError(f"{scenario.title}: another literal is another statement")
    values = [value or b"" for query in queries[1:] for value in query.params]
    if not any(str(number).encode() in value for value in values):
        raise RuntimeError(f"{scenario.title}: {number} is no parameter")
    return Pipeline(queries, number, numbers)


async def record_queries(
    gateway: Gateway, method: str, target: str, headers: Mapping[str, str], body: bytes
) -> list[Query]:
    """The queries of the one flush that the request costs, with their parameters."""
    observe.configure(process="bench", level="warning")
    flushes: list[list[Query]] = []
    execute = LanePool.execute

    async def watched(pool: LanePool, queries: Sequence[Query], **options: Any) -> list[Result]:
        flushes.append(list(queries))
        return await execute(pool, queries, **options)

    with patch.object(LanePool, "execute", watched):
        status = await answer(gateway, method, target, headers, body)
    if not 200 <= status < 300 or len(flushes) != 1:
        raise RuntimeError(f"{method} {target} was answered {status} with {len(flushes)} flushes")
    return flushes[0]


@asynccontextmanager
async def running(gateway: Gateway) -> AsyncIterator[None]:
    """Its ASGI lifespan, without a server."""
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    outgoing: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
    living = asyncio.create_task(gateway({"type": "lifespan"}, incoming.get, outgoing.put))
    await incoming.put({"type": "lifespan.startup"})
    started = await outgoing.get()
    if started["type"] != "lifespan.startup.complete":
        raise RuntimeError(f"the gateway did not start: {started}")
    try:
        yield
    finally:
        await incoming.put({"type": "lifespan.shutdown"})
        await living


async def answer(gateway: Gateway, method: str, target: str, headers: Mapping[str, str], body: bytes) -> int:
    """The status of one ASGI request."""
    path, _, query_string = target.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query_string.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "http_version": "1.1",
    }
    parts = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Mapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return parts.pop() if parts else {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    await gateway(scope, receive, send)
    status: int = sent[0]["status"]
    return status
