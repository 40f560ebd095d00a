"""The HTTP/2 client against a server that is strict, and one that misbehaves."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from struct import pack

import h2.errors
import h2.settings
import hpack
import pytest

from basalt.senders import http2_client
from basalt.senders.http2_client import Http2Client, InDoubtError, UnsentError
from basalt.senders.http2_protocol import (
    Answered,
    Failed,
    Http2Error,
    Http2Protocol,
    Http2Request,
)
from tests.fakes.certificate import make_certificate, serving, trusting
from tests.fakes.http2_server import Answer, Cut, Drip, GoAway, Reset, Silence, http2_server
from tests.fakes.small_server import Received, Reply

pytestmark = pytest.mark.req("P13")

PSEUDO = ((b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"localhost"))
HEADERS = ((b"authorization", b"Bearer token"), (b"content-type", b"application/json"))
CODES = h2.settings.SettingCodes


def request(body: bytes = b"{}", path: bytes = b"/send", **varying: str) -> Http2Request:
    pairs = tuple((name.encode(), value.encode()) for name, value in varying.items())
    return Http2Request(PSEUDO, HEADERS, body, path, pairs)


def client_of(url: str, *, connections: int = 1, streams: int = 100, timeout_s: float = 5.0) -> Http2Client:
    return Http2Client(url, connections=connections, streams=streams, timeout_s=timeout_s)


def echo(received: Received) -> Reply:
    headers = {"x-path": received.path, "x-varying": received.headers.get("varying", "")}
    return Reply(200, received.body, headers)


async def test_a_thousand_requests_over_two_connections_each_with_its_own_answer() -> None:
    async with http2_server(echo) as server:
        client = client_of(server.url, connections=2)
        answers = await asyncio.gather(
            *(client.send(request(str(n).encode(), f"/{n}".encode(), varying=f"v{n}")) for n in range(1000))
        )
        await client.close()
    assert [answer.body for answer in answers] == [str(n).encode() for n in range(1000)]
    assert [answer.headers[b"x-path"] for answer in answers] == [f"/{n}".encode() for n in range(1000)]
    assert [answer.headers[b"x-varying"] for answer in answers] == [f"v{n}".encode() for n in range(1000)]
    assert server.connections == 2
    assert server.most_streams <= 100


async def test_tls_asks_for_http2_and_for_the_name(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "localhost")
    tls = serving(certificate)
    tls.set_alpn_protocols(["h2"])
    async with http2_server(echo, tls=tls) as server:
        client = Http2Client(server.url, connections=1, streams=10, timeout_s=5, tls=trusting(certificate))
        assert (await client.send(request(b"secret"))).body == b"secret"
        await client.close()
        stranger = client_of(server.url)
        with pytest.raises(UnsentError, match="no connection"):
            await stranger.send(request())
        await stranger.close()


async def test_a_server_without_http2_gets_nothing(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "localhost")
    async with http2_server(echo, tls=serving(certificate)) as server:
        client = Http2Client(server.url, connections=1, streams=10, timeout_s=5, tls=trusting(certificate))
        with pytest.raises(UnsentError, match="does not speak HTTP/2"):
            await client.send(request())
        await client.close()


@pytest.mark.parametrize(
    "settings",
    [
        {CODES.MAX_CONCURRENT_STREAMS: 3},
        {CODES.INITIAL_WINDOW_SIZE: 100},
        {CODES.HEADER_TABLE_SIZE: 0},
        {CODES.MAX_FRAME_SIZE: 65_536, CODES.HEADER_TABLE_SIZE: 65_536},
    ],
    ids=["few streams", "small windows", "no header table", "large frames"],
)
async def test_the_servers_settings_are_kept_to(settings: dict[int, int]) -> None:
    async with http2_server(echo, settings=settings) as server:
        client = client_of(server.url)
        first = await client.send(request())  # after this one the settings are known
        assert first.status == 200
        server.most_streams = 0
        bodies = [os.urandom(20_000) for _ in range(30)]
        answers = await asyncio.gather(*(client.send(request(body)) for body in bodies))
        await client.close()
    assert [answer.body for answer in answers] == bodies
    assert server.most_streams <= settings.get(CODES.MAX_CONCURRENT_STREAMS, 100)


def once(first: Answer, then: Callable[[Received], Answer] = echo) -> Callable[[Received], Answer]:
    """`first` for the first request only."""
    seen: list[Received] = []

    def answer(received: Received) -> Answer:
        seen.append(received)
        return first if len(seen) == 1 else then(received)

    return answer


@pytest.mark.parametrize("first", [GoAway(), Reset(h2.errors.ErrorCodes.REFUSED_STREAM)])
async def test_what_the_server_has_not_begun_with_is_sent_again(first: Answer) -> None:
    async with http2_server(once(first)) as server:
        client = client_of(server.url)
        assert (await client.send(request(b"again"))).body == b"again"
        assert server.connections == (2 if isinstance(first, GoAway) else 1)
        await client.close()


async def test_a_server_that_refuses_for_ever_is_not_asked_for_ever() -> None:
    async with http2_server(lambda _: Reset(h2.errors.ErrorCodes.REFUSED_STREAM)) as server:
        client = client_of(server.url)
        with pytest.raises(UnsentError, match="refused"):
            await client.send(request())
        await client.close()


async def test_a_goodbye_lets_what_was_begun_end() -> None:
    def answer(received: Received) -> Answer:
        if received.path == "/goodbye":
            return GoAway()
        return Drip(Reply(200, b"slow")) if received.path == "/slow" else echo(received)

    async with http2_server(answer) as server:
        client = client_of(server.url)
        slow = client.send(request(path=b"/begin"))  # stream 1
        await slow
        slow = client.send(request(path=b"/slow"))  # stream 3
        goodbye = client.send(request(path=b"/goodbye"))  # stream 5: not begun, so sent again, three times
        assert (await slow).body == b"slow"
        with pytest.raises(UnsentError):
            await goodbye
        assert (await client.send(request(b"next"))).body == b"next"
        await client.close()


@pytest.mark.parametrize(
    ("first", "reason"),
    [(Cut(), "lost"), (Reset(), "reset"), (Reply(200, b"x" * 40_000), "too_large")],
)
async def test_what_may_have_been_served_is_in_doubt_and_not_sent_again(first: Answer, reason: str) -> None:
    received: list[bytes] = []

    def answer(asked: Received) -> Answer:
        received.append(asked.body)
        return first if asked.body == b"doubt" else echo(asked)

    async with http2_server(answer) as server:
        client = client_of(server.url)
        with pytest.raises(InDoubtError) as caught:
            await client.send(request(b"doubt"))
        assert caught.value.reason == reason
        assert (await client.send(request(b"next"))).body == b"next"
        assert received == [b"doubt", b"next"]
        await client.close()


async def test_a_request_without_an_answer_ends_in_time_and_costs_the_others_nothing() -> None:
    async with http2_server(once(Silence())) as server:
        client = client_of(server.url, timeout_s=0.3)
        silent = client.send(request())
        assert (await client.send(request(b"beside"))).body == b"beside"
        with pytest.raises(InDoubtError, match="timeout"):
            await silent
        assert (await client.send(request(b"after"))).body == b"after"
        assert server.connections == 1
        await client.close()


async def test_an_answer_that_drips_is_waited_for() -> None:
    async with http2_server(lambda _: Drip(Reply(200, b"drop by drop"))) as server:
        client = client_of(server.url)
        assert (await client.send(request())).body == b"drop by drop"
        await client.close()


async def test_a_server_that_is_gone_is_noticed_by_a_ping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2_client, "SILENT_S", 0.2)
    monkeypatch.setattr(http2_client, "PING_LIMIT_S", 0.2)
    monkeypatch.setattr(http2_client, "WATCH_EVERY_S", 0.05)
    async with http2_server(echo) as server:
        client = client_of(server.url, timeout_s=30)
        await client.send(request())
        server.is_deaf = True
        started = time.monotonic()
        with pytest.raises(InDoubtError, match="lost"):
            await client.send(request())
        assert time.monotonic() - started < 5
        server.is_deaf = False
        assert (await client.send(request(b"back"))).body == b"back"
        await client.close()


async def test_a_connection_at_rest_is_asked_whether_it_lives_before_it_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http2_client, "IDLE_S", 0.1)
    monkeypatch.setattr(http2_client, "PING_LIMIT_S", 0.2)
    monkeypatch.setattr(http2_client, "WATCH_EVERY_S", 0.05)
    async with http2_server(echo) as server:
        client = client_of(server.url, timeout_s=5)
        await client.send(request())
        server.is_deaf = True  # the other side is gone without a word
        await asyncio.sleep(0.3)
        waiting = client.send(request(b"later"))
        server.is_deaf = False
        assert (await waiting).body == b"later"  # on a new connection, sent once
        assert server.connections == 2
        await client.close()


async def test_nobody_listens() -> None:
    client = client_of("http://127.0.0.1:1")
    with pytest.raises(UnsentError, match="no connection"):
        await client.send(request())
    await client.close()


async def test_closing_ends_what_is_open() -> None:
    async with http2_server(lambda _: Silence()) as server:
        client = client_of(server.url, streams=1)
        begun, waiting = client.send(request()), client.send(request())
        while not server.most_streams:
            await asyncio.sleep(0.01)
        await client.close()
        with pytest.raises(InDoubtError):
            await begun
        with pytest.raises(UnsentError):
            await waiting


# The protocol by itself


def frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + pack(">BBL", kind, flags, number) + payload


OK = bytes([0x88])  # `:status 200` in HPACK's static table


@pytest.mark.parametrize(
    "data",
    [
        frame(1, 0x5, 1, OK),
        frame(1, 0x1, 1, OK[:0]) + frame(9, 0x4, 1, OK),
        frame(1, 0xD, 1, b"\x03" + OK + b"pad"),
        frame(1, 0x2D, 1, b"\x01" + bytes(5) + OK + b"p"),
        frame(1, 0x4, 1, bytes([0x08, 3]) + b"103") + frame(1, 0x5, 1, OK),
        frame(1, 0x4, 1, OK) + frame(0, 0x9, 1, b"\x04" + bytes(4)),
        frame(1, 0x4, 1, OK) + frame(1, 0x5, 1, b""),
        frame(99, 0xFF, 77, b"unknown") + frame(2, 0, 1, bytes(5)) + frame(1, 0x5, 1, OK),
    ],
    ids=[
        "headers alone",
        "continuation",
        "padding",
        "padding and priority",
        "early hints",
        "padded data",
        "trailers",
        "frames that mean nothing",
    ],
)
@pytest.mark.parametrize("is_dripped", [False, True], ids=["at once", "byte by byte"])
def test_every_form_of_an_answer(data: bytes, is_dripped: bool) -> None:
    protocol = Http2Protocol(max_streams=10)
    number = protocol.begin(request())
    pieces = [data[n : n + 1] for n in range(len(data))] if is_dripped else [data]
    events = [event for piece in pieces for event in protocol.receive(piece)]
    assert events == [Answered(number, 200, {}, b"")]
    assert protocol.open_streams == 0


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (frame(0, 1, 1, b"early"), "before headers"),
        (frame(1, 5, 3, OK), "no request"),
        (frame(1, 5, 2, OK), "no request"),
        (frame(0, 1, 9, b"x"), "no request"),
        (frame(1, 1, 1, OK) + frame(0, 1, 1, b""), "interrupted"),
        (frame(9, 4, 1, OK), "continuation"),
        (frame(1, 5, 1, b"\xff\xff\xff\xff"), "cannot be read"),
        (frame(1, 5, 1, b""), "without a status"),
        (frame(1, 0xD, 1, b"\xff" + OK), "padding"),
        (frame(5, 4, 1, bytes(4)), "pushes"),
        (b"\xff\xff\xff" + bytes(6), "larger than allowed"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "larger than allowed"),
        (frame(4, 0, 0, bytes(5)), "settings"),
        (frame(4, 0, 0, pack(">HL", 4, 2**31)), "window"),
        (frame(4, 0, 0, pack(">HL", 5, 1)), "frame size"),
        (frame(6, 0, 0, bytes(7)), "ping"),
        (frame(7, 0, 0, bytes(7)), "goodbye"),
        (frame(3, 0, 1, bytes(3)), "reset"),
        (frame(8, 0, 0, bytes(4)), "window"),
        (frame(8, 0, 0, pack(">L", 2**31 - 1)), "window"),
        (frame(1, 1, 1, bytes(16_000)) + frame(9, 0, 1, bytes(16_000)) * 2, "too large"),
    ],
)
def test_a_server_that_breaks_the_protocol_is_left(data: bytes, words: str) -> None:
    protocol = Http2Protocol(max_streams=10)
    protocol.begin(request())
    with pytest.raises(Http2Error, match=words):
        protocol.receive(data)
    assert protocol.close() == [Failed(1, is_untouched=False, reason="lost")]


def test_what_was_not_sent_to_its_end_cannot_have_been_served() -> None:
    protocol = Http2Protocol(max_streams=10)
    protocol.begin(request(b"x" * 100_000))  # the window is 65,535 bytes
    protocol.begin(request(b"small"))
    assert protocol.close() == [Failed(1, True, "lost"), Failed(3, True, "lost")]


def test_header_blocks_are_what_hpack_reads() -> None:
    """Blocks that are kept, and headers beside them that neither side remembers, decode to what was asked for."""
    protocol = Http2Protocol(max_streams=1000)
    decoder = hpack.Decoder()
    tokens = [((b"authorization", b"Bearer " + bytes([97 + n]) * 1200),) for n in range(5)]
    for turn in range(60):
        headers = tokens[turn // 7 % 5]
        varying = ((b"apns-id", str(turn).encode() * 100),)
        protocol.output.clear()
        protocol.begin(Http2Request(PSEUDO, headers, b"{}", f"/{turn}".encode(), varying))
        sent = b"".join(protocol.output)
        block = sent[9 : 9 + int.from_bytes(sent[:3])]
        assert tuple(decoder.decode(block, raw=True)) == (
            *PSEUDO,
            (b":path", f"/{turn}".encode()),
            *headers,
            *varying,
        )
    assert len(block) < 600  # the token of 1,200 bytes stands in the table


def test_answers_are_read_as_hpack_reads_them() -> None:
    protocol = Http2Protocol(max_streams=1000)
    encoder = hpack.Encoder()
    for turn in range(600):
        number = protocol.begin(request())
        fields = [
            (":status", "200" if turn % 3 else "503"),
            ("date", f"day {turn // 50}"),
            ("x-many", f"value {turn % 40}"),
        ]
        block = encoder.encode(fields, huffman=bool(turn % 2))
        [event] = protocol.receive(frame(1, 0x5, number, block))
        assert isinstance(event, Answered)
        assert event.status == int(fields[0][1])
        assert dict(event.headers) == {name.encode(): value.encode() for name, value in fields[1:]}


def test_headers_that_fit_into_no_frame_are_refused() -> None:
    protocol = Http2Protocol(max_streams=10)
    with pytest.raises(ValueError, match="do not fit"):
        protocol.begin(request(path=b"/" + b"x" * 20_000))
    assert protocol.open_streams == 0
