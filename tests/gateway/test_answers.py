"""How answers leave: at once over a real connection, and never broken in two."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn

from basalt.gateway.answers import write_answer
from basalt.http import Response
from tests.ports import free_port

pytestmark = pytest.mark.req("P5")


@asynccontextmanager
async def serving(*responses: Response, reads: bool = True) -> AsyncIterator[int]:
    """uvicorn with an application that gives these answers, in turn, after it has read the request."""
    waiting = list(responses)

    async def application(scope, receive, send):  # type: ignore[no-untyped-def]
        if reads:
            await receive()
        await write_answer(waiting.pop(0), send, method=scope["method"])

    config = uvicorn.Config(
        application, port=free_port(), http="httptools", lifespan="off", log_config=None, server_header=False
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield config.port
    finally:
        server.should_exit = True
        await task


async def exchange(port: int, *requests: bytes, until_closed: bool = False) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = b""
    for request in requests:
        writer.write(request)
        await writer.drain()
        if not until_closed:
            answers += await asyncio.wait_for(read_answer(reader, is_head=request.startswith(b"HEAD")), 10)
    if until_closed:
        answers = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return answers


async def read_answer(reader: asyncio.StreamReader, *, is_head: bool) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
    return head + (await reader.readexactly(lengths[0]) if lengths and not is_head else b"")


GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n"


async def test_answers_follow_each_other_on_one_connection() -> None:
    async with serving(
        Response(200, [(b"x-number", b"1")], b"one"), Response(201, [(b"x-number", b"2")], b"")
    ) as port:
        answers = await exchange(port, GET, GET)
    assert answers.count(b"HTTP/1.1 ") == 2
    assert b"x-number: 1\r\ncontent-length: 3\r\n\r\none" in answers
    assert b"x-number: 2\r\ncontent-length: 0\r\n\r\n" in answers


@pytest.mark.parametrize("status", [204, 304])
async def test_statuses_without_content_send_none(status: int) -> None:
    async with serving(Response(status, [], b"never sent")) as port:
        answer = await exchange(port, GET)
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length" not in answer
    assert b"transfer-encoding" not in answer


async def test_head_has_neither_body_nor_its_length() -> None:
    async with serving(Response(200, [(b"x-kind", b"a")], b"never sent"), Response(200, [], b"")) as port:
        answers = await exchange(port, HEAD, GET)
    assert b"never sent" not in answers
    assert answers.count(b"content-length") == 1


async def test_connection_that_shall_close_is_closed() -> None:
    async with serving(Response(200, [], b"bye")) as port:
        answer = await exchange(
            port, b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", until_closed=True
        )
    assert b"connection: close" in answer
    assert answer.endswith(b"bye")


async def test_own_length_and_streams_go_as_they_are() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    async with serving(Response(200, [(b"content-length", b"2")], b"ab")) as port:
        assert (await exchange(port, GET)).endswith(b"content-length: 2\r\n\r\nab")
    async with serving(Response(200, [(b"connection", b"close")], chunks())) as port:
        answer = await exchange(port, GET, until_closed=True)
    assert answer.endswith(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "header",
    [
        (b"x-a", b"1\r\nset-cookie: stolen=1"),
        (b"x-a", b"1\nset-cookie: stolen=1"),
        (b"x-a\r\nset-cookie", b"stolen=1"),
        (b"x-a", b"1\r"),
        (b"x-a", b"\0"),
    ],
)
async def test_header_that_would_break_the_answer_is_not_sent(header: tuple[bytes, bytes]) -> None:
    async with serving(Response(200, [header], b"body")) as port:
        answer = await exchange(port, GET, until_closed=True)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"stolen" not in answer


EXPECTING = b"PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n"


async def test_who_is_told_no_before_the_body_is_not_heard_again_on_the_connection() -> None:
    """The client keeps its body then: what follows would be taken for it."""
    async with serving(Response(403, [], b"no"), reads=False) as port:
        answer = await exchange(port, EXPECTING, until_closed=True)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"connection: close" in answer


async def test_who_is_told_to_go_on_keeps_the_connection() -> None:
    async with serving(Response(200, [], b"one"), Response(200, [], b"two")) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(EXPECTING)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(b"12345")
        assert b"connection: close" not in await read_answer(reader, is_head=False)
        writer.write(GET)
        assert (await read_answer(reader, is_head=False)).endswith(b"two")
        writer.close()
        await writer.wait_closed()


async def test_a_stream_ends_when_its_reader_leaves() -> None:
    """uvicorn would take the rest of it, for nobody: of an object the whole file, of endless events all of them."""
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0)
        finally:
            ended.set()

    async with serving(Response(200, [], endless())) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        async with asyncio.timeout(10):
            await ended.wait()
