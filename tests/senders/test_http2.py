"""The HTTP/2 client against a server that is strict, and one that misbehaves."""

import asyncio
import os
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from struct import pack

import h2.errors
import h2.settings
import hpack
import pytest

from basalt.senders import http2_client
from basalt.senders.http2_client import Http2Client, InDoubtError, UnsentError
from basalt.senders.http2_headers import HeaderEncoder
from basalt.senders.http2_protocol import Answered, Failed, Goodbye, Http2Protocol, Http2Request
from tests.fakes.certificate import make_certificate, serving, trusting
from tests.fakes.http2_server import Answer, Broken, Cut, Drip, GoAway, Reset, Silence, http2_server
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
        bodies = [os.urandom(20_000) for _ in range(30)]
        answers = await asyncio.gather(*(client.send(request(body)) for body in bodies))
        await client.close()
    assert [answer.body for answer in answers] == bodies
    assert server.most_streams <= settings.get(CODES.MAX_CONCURRENT_STREAMS, 100)


async def test_the_first_requests_wait_for_the_servers_settings() -> None:
    """APNs takes one until it has seen a valid token."""
    async with http2_server(echo, settings={CODES.MAX_CONCURRENT_STREAMS: 1}) as server:
        client = client_of(server.url)
        answers = await asyncio.gather(*(client.send(request(str(n).encode())) for n in range(20)))
        await client.close()
    assert [answer.body for answer in answers] == [str(n).encode() for n in range(20)]
    assert server.most_streams == 1


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


async def test_a_server_that_refuses_wave_after_wave_gets_everything_in_the_end() -> None:
    """As APNs does beside messages to devices that are gone: it takes one at a time for a while."""
    refused: dict[bytes, int] = {}

    def answer(received: Received) -> Answer:
        refused[received.body] = refused.get(received.body, 0) + 1
        return Reset(h2.errors.ErrorCodes.REFUSED_STREAM) if refused[received.body] < 5 else echo(received)

    async with http2_server(answer) as server:
        client = client_of(server.url)
        answers = await asyncio.gather(*(client.send(request(str(n).encode())) for n in range(20)))
        assert [answer.body for answer in answers] == [str(n).encode() for n in range(20)]
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
        goodbye = client.send(request(path=b"/goodbye"))  # stream 5: not begun, so sent again
        assert (await slow).body == b"slow"
        with pytest.raises(UnsentError):
            await goodbye
        assert (await client.send(request(b"next"))).body == b"next"
        await client.close()


async def test_a_connection_that_only_ends_what_it_has_begun_with_holds_up_nobody() -> None:
    goodbye = once(GoAway())

    def answer(received: Received) -> Answer:
        return Silence() if received.path == "/silent" else goodbye(received)

    async with http2_server(answer) as server:
        client = client_of(server.url, connections=1)
        silent = client.send(request(path=b"/silent"))
        assert (await client.send(request(b"moved"))).body == b"moved"
        assert not silent.done()
        assert server.connections == 2
        await client.close()
        with pytest.raises(InDoubtError, match="lost"):
            await silent


async def test_an_answer_counts_although_the_server_breaks_the_protocol_right_behind_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def answer(received: Received) -> Answer:
        return Broken(echo(received)) if received.body == b"last" else Silence()

    async with http2_server(answer) as server:
        client = client_of(server.url)
        silent, last = client.send(request(b"silent")), client.send(request(b"last"))
        async with asyncio.timeout(2):
            assert (await last).body == b"last"
            with pytest.raises(InDoubtError, match="lost"):
                await silent
        await client.close()
    assert "larger than allowed" in capsys.readouterr().err


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
        assert [task for task in asyncio.all_tasks() if "Http2Client" in repr(task)] == []
        with pytest.raises(InDoubtError):
            await begun
        for never_begun in (waiting, client.send(request())):
            with pytest.raises(UnsentError, match="closed"):
                await never_begun
        assert server.connections == 1


# The protocol by itself


def frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + pack(">BBL", kind, flags, number) + payload


OK = bytes([0x88])  # `:status 200` in HPACK's static table
SETTINGS = frame(4, 0, 0)


def begun(*bodies: bytes, settings: bytes = b"") -> Http2Protocol:
    """A connection whose server has said what it takes, and requests with these bodies on streams 1, 3, …"""
    protocol = Http2Protocol(max_streams=1000)
    assert protocol.free_streams == 0
    assert protocol.receive(frame(4, 0, 0, settings)) == []
    for body in bodies:
        protocol.begin(request(body))
    return protocol


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
def test_every_form_of_an_answer(data: bytes) -> None:
    protocol = begun(b"{}")
    assert protocol.receive(data) == [Answered(1, 200, {}, b"")]
    assert protocol.open_streams == 0
    assert (
        protocol.receive(frame(0, 0, 1, b"late") + frame(3, 0, 1, bytes(4)) + frame(8, 0, 1, b"\0\0\0\1"))
        == []
    )
    assert protocol.error is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (frame(0, 1, 1, b"early"), "before headers"),
        (frame(1, 5, 3, OK), "no request"),
        (frame(1, 5, 2, OK), "no request"),
        (frame(1, 5, 0, OK), "no request"),
        (frame(0, 1, 9, b"x"), "no request"),
        (frame(3, 0, 3, bytes(4)), "no request"),
        (frame(3, 0, 0, bytes(4)), "no request"),
        (frame(8, 0, 3, b"\0\0\0\1"), "no request"),
        (frame(1, 1, 1, OK) + frame(0, 1, 1, b""), "interrupted"),
        (frame(1, 1, 1, OK) + frame(9, 4, 3, b""), "continuation"),
        (frame(9, 4, 1, OK), "continuation"),
        (frame(1, 5, 1, b"\xff\xff\xff\xff"), "cannot be read"),
        (frame(1, 5, 1, b""), "without a status"),
        (frame(1, 5, 1, b"\x08\x04+200"), "status that is none"),
        (frame(1, 5, 1, b"\x08\x03099"), "status that is none"),
        (frame(1, 5, 1, OK + OK), "out of its place"),
        (frame(1, 5, 1, bytes([0x08, 3]) + b"103"), "ends before it begins"),
        (frame(1, 4, 1, OK) + frame(1, 5, 1, OK), "trailers"),
        (frame(1, 4, 1, OK) + frame(1, 4, 1, b""), "trailers"),
        (frame(1, 0xD, 1, b"\xff" + OK), "padding"),
        (frame(1, 0x25, 1, bytes(4)), "priority"),
        (frame(5, 4, 1, bytes(4)), "pushes"),
        (b"\xff\xff\xff" + bytes(6), "larger than allowed"),
        (frame(4, 0, 0, bytes(5)), "settings"),
        (frame(4, 1, 0, bytes(6)), "settings"),
        (frame(4, 0, 1), "of the connection"),
        (frame(4, 0, 0, pack(">HL", 2, 1)), "pushed to"),
        (frame(4, 0, 0, pack(">HL", 4, 2**31)), "window"),
        (frame(4, 0, 0, pack(">HL", 5, 1)), "frame size"),
        (frame(6, 0, 0, bytes(7)), "ping"),
        (frame(6, 0, 1, bytes(8)), "of the connection"),
        (frame(7, 0, 0, bytes(7)), "goodbye"),
        (frame(7, 0, 1, bytes(8)), "of the connection"),
        (frame(3, 0, 1, bytes(3)), "reset"),
        (frame(8, 0, 0, bytes(4)), "by nothing"),
        (frame(8, 0, 1, bytes(4)), "by nothing"),
        (frame(8, 0, 0, pack(">L", 2**31 - 1)), "window"),
        (frame(1, 1, 1, bytes(16_000)) + frame(9, 0, 1, bytes(16_000)) * 2, "too large"),
        (frame(6, 0, 0, bytes(8)) * 10_001, "more replies"),
        (SETTINGS * 10_001, "more replies"),
    ],
    ids=count(),
)
def test_a_server_that_breaks_the_protocol_is_left(data: bytes, words: str) -> None:
    protocol = begun(b"{}")
    assert protocol.receive(data) == [Failed(1, is_untouched=False, reason="lost")]
    assert words in str(protocol.error)
    assert protocol.output[-1][3] == 7  # a goodbye
    assert protocol.receive(frame(1, 5, 1, OK)) == []


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", frame(6, 0, 0, bytes(8))])
def test_a_server_begins_with_its_settings(data: bytes) -> None:
    protocol = Http2Protocol(max_streams=10)
    assert protocol.receive(data) == []
    assert protocol.error is not None


def test_a_goodbye_tells_what_was_begun_and_why() -> None:
    protocol = begun(b"1", b"3", b"5")
    first = frame(7, 0, 0, pack(">LL", 2**31 - 1, 0))
    last = frame(7, 0, 0, pack(">LL", 1, 11) + b"enough")
    assert protocol.receive(first) == [Goodbye(0, b"")]
    assert protocol.free_streams == 0
    assert protocol.receive(last) == [Failed(3, True, "goaway"), Failed(5, True, "goaway")]
    assert protocol.receive(frame(1, 5, 1, OK)) == [Answered(1, 200, {}, b"")]


def test_what_was_not_sent_to_its_end_cannot_have_been_served() -> None:
    protocol = begun(b"x" * 100_000, b"small")  # the window is 65,535 bytes
    assert protocol.close() == [Failed(1, True, "lost"), Failed(3, True, "lost")]


def test_a_window_that_is_opened_after_all_was_sent_harms_nobody() -> None:
    protocol = begun(b"x" * 100, settings=pack(">HL", 4, 2**31 - 1))
    assert protocol.receive(frame(8, 0, 1, pack(">L", 100)) + frame(1, 5, 1, OK)) == [
        Answered(1, 200, {}, b"")
    ]
    assert protocol.error is None


def test_a_body_goes_as_far_as_both_windows_reach() -> None:
    protocol = begun(b"x" * 300, b"y" * 50, settings=pack(">HL", 4, 100))

    def sent(data: bytes) -> list[tuple[int, int, bool]]:
        """The stream, size and end of each piece of a body that follows."""
        protocol.output.clear()
        assert protocol.receive(data) == []
        return [
            (int.from_bytes(piece[5:9]), len(piece) - 9, bool(piece[4]))
            for piece in protocol.output
            if piece[3] == 0
        ]

    assert sent(frame(8, 0, 1, pack(">L", 60))) == [(1, 60, False)]
    assert sent(frame(4, 0, 0, pack(">HL", 4, 90))) == []  # by which it is 10 bytes too far
    assert sent(frame(8, 0, 1, pack(">L", 30))) == [(1, 20, False)]
    assert sent(frame(4, 0, 0, pack(">HL", 4, 1000))) == [(1, 120, True)]
    assert protocol.receive(frame(1, 5, 1, OK)) == [Answered(1, 200, {}, b"")]


@pytest.mark.parametrize(
    "more", [frame(8, 0, 1, pack(">L", 65_536)), frame(4, 0, 0, pack(">HL", 4, 2**31 - 1))]
)
def test_a_stream_whose_window_grows_too_large_is_an_error(more: bytes) -> None:
    """Its body waits for the connection's window, of which it has used all."""
    protocol = begun(b"x" * 100_000, settings=pack(">HL", 4, 2**31 - 1))
    if more[3] == 4:
        protocol.receive(frame(4, 0, 0, pack(">HL", 4, 0)) + frame(8, 0, 1, pack(">L", 70_000)))
        assert protocol.error is None
    assert protocol.receive(more) == [Failed(1, is_untouched=True, reason="lost")]
    assert "window" in str(protocol.error)


def test_replies_that_are_read_may_be_many() -> None:
    protocol = begun()
    for _ in range(3):
        protocol.receive(frame(6, 0, 0, bytes(8)) * 9_000)
        protocol.unread_replies = 0
        protocol.output.clear()
    assert protocol.error is None


@pytest.mark.parametrize("sizes", [[0], [0, 0], [0, 4096], [100, 0, 50], [100, 100], [65_536]], ids=str)
def test_the_servers_header_table_is_no_larger_than_it_says(sizes: list[int]) -> None:
    encoder, decoder = HeaderEncoder(), hpack.Decoder()
    for _ in range(2):
        decoder.decode(encoder.encode(HEADERS))
    for size in sizes:
        encoder.resize(size)
    decoder.max_allowed_table_size = min(sizes[-1], 4096)
    for _ in range(3):
        assert tuple(decoder.decode(encoder.encode(HEADERS), raw=True)) == HEADERS
        assert decoder.header_table_size == min(sizes[-1], 4096)


def test_header_blocks_are_what_hpack_reads() -> None:
    """Blocks that are kept, and headers beside them that neither side remembers, decode to what was asked for."""
    protocol = begun()
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
    protocol = begun()
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


def test_headers_that_fit_into_no_frame_continue_in_others() -> None:
    protocol = begun()
    decoder = hpack.Decoder(max_header_list_size=100_000)
    for path in (b"/" + b"x" * 40_000, b"/short"):
        protocol.output.clear()
        protocol.begin(request(path=path))
        sent, frames = b"".join(protocol.output), []
        while sent:
            size = int.from_bytes(sent[:3])
            frames.append((sent[3], sent[4], sent[9 : 9 + size]))
            sent = sent[9 + size :]
        *blocks, data = frames
        assert data == (0, 1, b"{}")
        assert [(kind, flags) for kind, flags, _ in blocks] in ([(1, 0), (9, 0), (9, 4)], [(1, 4)])
        block = b"".join(payload for _, _, payload in blocks)
        assert tuple(decoder.decode(block, raw=True)) == (*PSEUDO, (b":path", path), *HEADERS)
