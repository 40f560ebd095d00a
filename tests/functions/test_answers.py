"""What a function may answer with, and how it comes to the client."""

import asyncio
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.functions.calling import call, error_of, logged, wait_for
from tests.server import Server

pytestmark = pytest.mark.req("P9")
MIB = 1024 * 1024


def test_simple_answers(server: Server) -> None:
    nothing = call(server, "answers/nothing")
    assert (nothing.status_code, nothing.text, nothing.headers["content-type"]) == (
        200,
        "null",
        "application/json",
    )
    empty = call(server, "answers/empty")
    assert (empty.status_code, empty.content) == (204, b"")
    raw = call(server, "answers/bytes")
    assert (raw.content, raw.headers["content-type"]) == (b"\x00\xff", "application/octet-stream")
    assert len(call(server, "answers/long-json").json()["text"]) == 2_000_000
    head = call(server, "answers/blocks", method="HEAD")
    assert (head.status_code, head.content) == (200, b"")


def test_a_header_may_come_several_times(server: Server) -> None:
    answer = call(server, "answers/cookies")
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]


def test_repeated_request_headers_and_parameters_are_all_seen(server: Server) -> None:
    headers = [("x-own", "1"), ("X-Own", "2"), ("cookie", "a=1"), ("cookie", "b=2")]
    seen = call(server, "answers/mirror?a=1&a=2", content="grüße", headers=headers).json()
    assert seen["headers"] == {"x-own": "1, 2", "cookie": "a=1; b=2"}
    assert (seen["all"], seen["text"]) == (["1", "2"], "grüße")
    assert error_of(call(server, "answers/mirror", content=b"\xff"))["code"] == "INVALID_TEXT"


@pytest.mark.parametrize("what", ["line-break", "bad-name", "bad-status", "odd"])
def test_what_is_no_answer_is_the_functions_failure(server: Server, what: str) -> None:
    answer = call(server, f"answers/{what}")
    assert (answer.status_code, error_of(answer)["code"]) == (500, "SERVER_ERROR")
    assert "set-cookie" not in answer.headers


def test_the_framing_of_an_answer_is_not_the_functions_business(server: Server) -> None:
    answer = call(server, "answers/framing")
    assert (answer.text, answer.headers["content-length"]) == ("whole", "5")
    assert "transfer-encoding" not in answer.headers


def test_the_first_part_of_a_stream_arrives_at_once(server: Server) -> None:
    started = time.monotonic()
    with (
        server.client() as client,
        client.stream("POST", "/functions/v1/answers/events") as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream"
        assert next(answer.iter_text()) == "data: first\n\n"
        assert time.monotonic() - started < 5
    wait_for(lambda: "the reader of events left" in server.log.read_text())


def test_a_client_that_reads_slowly_fills_no_memory(server: Server) -> None:
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port)) as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        head = (
            f"POST /functions/v1/answers/blocks HTTP/1.1\r\nhost: x\r\napikey: {server.publishable_key}\r\n"
        )
        reader.sendall(f"{head}connection: close\r\ncontent-length: 0\r\n\r\n".encode())
        assert reader.recv(100).startswith(b"HTTP/1.1 200")
        produced = settled_count(server)
        assert produced < 160  # of 800 blocks
        reader.settimeout(20)
        size = 0
        while part := reader.recv(MIB):
            size += len(part)
    assert size > 800 * 65536
    assert call(server, "answers/produced").json() >= 800


def settled_count(server: Server) -> int:
    """How many blocks were made when no more are."""
    seen = -1
    while (now := call(server, "answers/produced").json()) != seen:
        seen = now
        time.sleep(0.2)
    return seen


def test_fifty_megabytes_pass_without_filling_the_gateway(server: Server) -> None:
    before = rss_mb(server)
    answer = call(server, "answers/large")
    assert (len(answer.content), answer.headers["content-length"]) == (50_000_000, "50000000")
    assert rss_mb(server) - before < 30


def rss_mb(server: Server) -> float:
    gateways = [
        path.parent
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"basalt.gateway" in path.read_bytes() and str(server.project_dir).encode() in path.read_bytes()
    ]
    (peak,) = [line for line in (gateways[0] / "status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(peak.split()[1]) / 1024


def test_an_answer_over_the_limit_is_refused(server: Server) -> None:
    answer = call(server, "short")
    assert (answer.status_code, error_of(answer)["code"]) == (500, "ANSWER_TOO_LARGE")
    with pytest.raises(httpx2.RemoteProtocolError):
        call(server, "short?how=stream")


def test_a_stream_that_breaks_off_does_not_look_whole(server: Server) -> None:
    with pytest.raises(httpx2.RemoteProtocolError):
        call(server, "answers/breaks")
    wait_for(lambda: any("broken off" in line["traceback"] for line in logged(server, "function_crashed")))
    assert call(server, "answers/nothing").status_code == 200


def test_a_stream_ends_when_its_time_is_over(server: Server) -> None:
    started = time.monotonic()
    with pytest.raises(httpx2.RemoteProtocolError):
        call(server, "drip")
    assert 1 < time.monotonic() - started < 6


def test_work_in_the_background_ends_when_its_time_is_over(server: Server) -> None:
    assert call(server, "drip?how=background").text == '"answered"'
    wait_for(lambda: "the background was cancelled" in server.log.read_text())


def test_forms_of_both_kinds_are_read(server: Server) -> None:
    files = {"file": ("ü.txt", b"content", "text/plain")}
    answer = call(server, "answers/form", data={"a": "1", "b": "ü"}, files=files)
    assert answer.json() == [["a", "1"], ["b", "ü"], ["file", ["ü.txt", "text/plain", "content"]]]
    assert call(server, "answers/form", data={"a": ["1", "2"]}).json() == [["a", "1"], ["a", "2"]]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=x", b"--x\r\nnothing"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1"),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"a" * 20_000 + b": b\r\n"),
        ("application/x-www-form-urlencoded", b"&".join(b"a=1" for _ in range(1001))),
        ("application/x-www-form-urlencoded", b"a=%ff"),
    ],
)
def test_what_is_no_form_is_refused(server: Server, kind: str, body: bytes) -> None:
    answer = call(server, "answers/form", content=body, headers={"content-type": kind})
    assert (answer.status_code, error_of(answer)["code"]) == (400, "INVALID_FORM")


async def test_a_second_process_starts_when_the_first_is_full(server: Server) -> None:
    headers = {"apikey": server.publishable_key}
    async with httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=20) as client:
        answers = await asyncio.gather(*(client.post("/functions/v1/narrow?s=0.5") for _ in range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 2
