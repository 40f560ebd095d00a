"""Where an outgoing request may go: hostile URLs, headers, names and redirects."""

import asyncio
from pathlib import Path

import pytest

from basalt.http import AddressGuard, WireClient, WireError, WireRequest, parse_target
from basalt.jobs.outgoing.claiming import ClaimedRequest
from basalt.jobs.outgoing.exchange import build_headers, send_request
from basalt.jobs.outgoing.own_api import OwnApi, find_own_api
from tests.fakes.certificate import make_certificate, serving, trusting
from tests.fakes.receiver import running_receiver
from tests.jobs.sending import net_settings

pytestmark = pytest.mark.req("P12")

OWN = OwnApi("127.0.0.1", 54999)
MAX = 1024 * 1024


async def refuse_to_resolve(host: str, port: int) -> list[str]:
    raise AssertionError(f"{host} was looked up")


def request(url: str, method: str = "GET", **headers: object) -> ClaimedRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ClaimedRequest(1, method, url, "", named, b"{}" if method == "POST" else None, 3000)


async def send(url: str, *, allow_private: bool = False, own: OwnApi = OWN) -> tuple[int | None, str | None]:
    client = WireClient(own.guard(allow_private=allow_private))
    try:
        outcome = await send_request(client, request(url), own_api=own, max_bytes=MAX)
    finally:
        await client.close()
    return outcome.status, outcome.error_msg


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "localhost",
        "LOCALHOST",
        "0.0.0.0",
        "0",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.0.8",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fc00::1]",
        "[fec0::1]",
        "[ff02::1]",
        "host.docker.internal",
    ],
)
async def test_addresses_that_are_not_public_are_refused(host: str) -> None:
    status, error = await send(f"http://{host}:54998/")
    assert status is None
    assert error == "The address is not a public one: the setting webhooks.allow_private would allow it"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nothing",
        "//127.0.0.1/",
        "http://",
        "http:///path",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_",
        "unix:///var/run/docker.sock",
        "http://127.0.0.1:54999@example.org/",
        "http://user:password@example.org/",
        "http://example.org\\@127.0.0.1/",
        "http://example.org:0/",
        "http://example.org:99999/",
        "http://exam ple.org/",
        "http://example.org/\r\nX-Injected: 1",
        "http://example.org/\nGET / HTTP/1.1",
        "http://example.org\x00.evil/",
        "http://①②⑦.⓪.⓪.①/",
        "http://0177.0.0.1/",
        "http://[::1/",
    ],
)
def test_what_is_no_plain_url_is_refused_before_any_look_up(url: str) -> None:
    with pytest.raises(WireError) as refused:
        parse_target(url)
    assert refused.value.failure == "invalid"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", "a\r\nHost: b"),
        ("X", "a\nb"),
        ("X", "a\x00b"),
        ("X y", "1"),
        ("X:", "1"),
        ("", "1"),
        ("Host", "b"),
        ("HOST", "b"),
    ],
)
def test_headers_that_would_say_something_else_are_refused(name: str, value: str) -> None:
    with pytest.raises(WireError) as refused:
        build_headers(ClaimedRequest(1, "GET", "http://a/", "a", {name: value}, None, 1000))
    assert refused.value.failure == "invalid"


def test_headers_of_the_connection_are_the_clients_own() -> None:
    given = {
        "Content-Length": "3",
        "transfer-encoding": "chunked",
        "Connection": "close",
        "X-Mine": " 1 ",
        "N": 5,
        "No": None,
    }
    headers = build_headers(ClaimedRequest(1, "GET", "http://a/", "a", given, None, 1000))
    assert dict(headers)[b"X-Mine"] == b"1"
    assert {name for name, _ in headers} == {b"X-Mine", b"N", b"Accept", b"User-Agent"}


async def test_the_projects_own_api_is_allowed_by_its_own_names_only() -> None:
    async with running_receiver() as receiver:
        own = OwnApi("127.0.0.1", receiver.port)
        port = receiver.port
        for url in (
            f"http://127.0.0.1:{port}/",
            f"http://localhost:{port}/",
            "http://kong:8000/",
            "http://api.supabase.internal:8000/",
            "http://supabase_kong_my-project:8000/functions/v1/x",
            "http://host.docker.internal:54321/",
            f"http://host.docker.internal:{port}/",
        ):
            assert await send(url, own=own) == (200, None), url
        arrived = len(receiver.arrived)
        for url in (f"http://127.1:{port}/", f"http://0.0.0.0:{port}/", f"http://[::ffff:127.0.0.1]:{port}/"):
            status, error = await send(url, own=own)
            assert status is None
            assert "not a public one" in str(error), url
        assert (await send(f"http://127.0.0.1:{port + 1}/", own=own))[0] is None
        assert len(receiver.arrived) == arrived


async def test_the_api_is_told_that_nobody_on_this_machine_is_asking() -> None:
    """The console is open to browsers on the machine: a request that SQL asked for must not look like theirs."""
    async with running_receiver() as receiver, running_receiver() as other:
        own = OwnApi("127.0.0.1", receiver.port, None, "CF-Connecting-IP")
        client = WireClient(own.guard(allow_private=True))
        given = {
            "x_forwarded_for": "127.0.0.1",
            "forwarded": "for=me",
            "cf_connecting_ip": "::1",
            "x_real_ip": "1",
        }
        for url in (
            f"http://127.0.0.1:{receiver.port}/",
            f"http://127.0.0.2:{receiver.port}/",
            "http://kong:8000/",
            f"{other.url}/redirect/302/http://127.1:{receiver.port}/",
        ):
            outcome = await send_request(client, request(url, **given), own_api=own, max_bytes=MAX)
            assert outcome.status == 200 or "127.0.0.2" in url
        await client.close()
    for arrived in receiver.arrived:
        assert arrived.headers["forwarded"] == "for=_basalt"
        assert not arrived.headers.keys() & {"x-forwarded-for", "cf-connecting-ip", "x-real-ip"}
    assert len(receiver.arrived) == 3
    assert other.arrived[0].headers["x-forwarded-for"] == "127.0.0.1"


def test_the_public_url_of_the_api_is_its_own(tmp_path: Path) -> None:
    settings = net_settings(tmp_path, SUPABASE_API_EXTERNAL_URL="https://api.example.org/")
    own = find_own_api(settings)
    assert own.public == ("api.example.org", 443)
    own.guard(allow_private=False).check("api.example.org", 443, ["10.0.0.5"])


async def test_a_name_that_points_elsewhere_a_moment_later_gains_nothing() -> None:
    """DNS rebinding: public when it is checked, loopback afterwards. The checked address is the one that is used."""
    answers = [["192.0.2.1"], ["127.0.0.1"], ["127.0.0.1"]]
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers.pop(0)

    async with running_receiver() as receiver:
        client = WireClient(AddressGuard(), resolve=resolve)
        target = parse_target(f"http://rebind.example:{receiver.port}/")
        with pytest.raises(WireError) as first:  # TEST-NET is not global
            await client.exchange(WireRequest("GET", target), timeout_s=2, max_bytes=MAX)
        with pytest.raises(WireError) as second:
            await client.exchange(WireRequest("GET", target), timeout_s=2, max_bytes=MAX)
        await client.close()
    assert first.value.failure == second.value.failure == "forbidden_address"
    assert asked == ["rebind.example"] * 2
    assert receiver.arrived == []


async def test_a_name_is_looked_up_once_for_a_connection_and_goes_where_it_was_checked() -> None:
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["203.0.113.1"]

    async with running_receiver() as receiver:
        client = WireClient(AddressGuard(allow_private=True), resolve=resolve)
        target = parse_target(f"http://once.example:{receiver.port}/")
        for _ in range(3):
            answer = await client.exchange(WireRequest("GET", target), timeout_s=2, max_bytes=MAX)
            assert answer.status == 200
        await client.close()
    assert asked == ["once.example"]
    assert receiver.connections == 1
    assert receiver.arrived[0].headers["host"] == f"once.example:{receiver.port}"


async def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["93.184.216.34", "10.0.0.1"]

    client = WireClient(AddressGuard(), resolve=resolve)
    with pytest.raises(WireError, match="not a public one"):
        await client.exchange(
            WireRequest("GET", parse_target("http://mixed.example/")), timeout_s=2, max_bytes=MAX
        )
    await client.close()


async def test_the_next_address_is_tried_when_the_first_one_does_not_answer() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["::1", "127.0.0.1"]

    async with running_receiver() as receiver:
        client = WireClient(AddressGuard(allow_private=True), resolve=resolve)
        target = parse_target(f"http://two.example:{receiver.port}/")
        answer = await client.exchange(WireRequest("GET", target), timeout_s=2, max_bytes=MAX)
        await client.close()
    assert answer.status == 200


async def test_redirects_are_followed_and_checked_like_the_first_address() -> None:
    async with running_receiver() as api, running_receiver() as other:
        own = OwnApi("127.0.0.1", api.port)
        status, error = await send(f"{api.url}/redirect/302/{other.url}/ok", own=own)
        assert status is None
        assert "not a public one" in str(error)
        assert other.arrived == []
        assert await send(f"{api.url}/redirect/302//ok", own=own) == (200, None)
        assert await send(f"{api.url}/redirect/302/ftp://x/", own=own) == (None, "Unsupported protocol")
        status, error = await send(f"{api.url}/redirect/307/http://a@127.0.0.1/", own=own)
        assert status is None


@pytest.mark.parametrize(
    ("status", "method", "has_body"),
    [(301, "GET", False), (302, "GET", False), (303, "GET", False), (307, "POST", True), (308, "POST", True)],
)
async def test_a_redirect_keeps_method_and_body_or_becomes_a_get(
    status: int, method: str, has_body: bool
) -> None:
    async with running_receiver() as receiver, running_receiver() as other:
        client = WireClient(AddressGuard(allow_private=True))
        for target in ("/echo", f"{other.url}/echo"):
            claimed = request(
                f"{receiver.url}/redirect/{status}/{target}",
                "POST",
                content_type="application/json",
                authorization="Bearer secret",
                apikey="k",
            )
            outcome = await send_request(client, claimed, own_api=OWN, max_bytes=MAX)
            assert outcome.status == 200
        await client.close()
    same, elsewhere = receiver.arrived[1], other.arrived[0]
    for arrived in (same, elsewhere):
        assert arrived.method == method
        assert bool(arrived.body) == has_body
        assert ("content-type" in arrived.headers) == has_body
    assert same.headers["authorization"] == "Bearer secret"
    assert not elsewhere.headers.keys() & {"authorization", "apikey"}


async def test_redirects_end() -> None:
    async with running_receiver() as receiver:
        own = OwnApi("127.0.0.1", receiver.port)
        loop = f"{receiver.url}/redirect/302/{receiver.url}/redirect/302//ok"
        assert (await send(loop, own=own))[0] == 200

        async def again(arrived: object, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 302 X\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")

        receiver.on_again = again  # type: ignore[attr-defined]
        assert await send(f"{receiver.url}/again", own=own) == (
            None,
            "Number of redirects hit maximum amount",
        )
        assert len(receiver.arrived) < 20


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    async with running_receiver(tls=serving(make_certificate(tmp_path, "hooks.example"))) as receiver:
        status, error = await send(f"{receiver.url}/", allow_private=True)
    assert status is None
    assert str(error).startswith("SSL peer certificate or SSH remote key was not OK")
    assert receiver.arrived == []


async def test_a_certificate_is_asked_for_the_name_not_for_the_address(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "hooks.example")

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async with running_receiver(tls=serving(certificate)) as receiver:
        client = WireClient(
            AddressGuard(allow_private=True), resolve=resolve, ssl_context=trusting(certificate)
        )
        good = parse_target(f"https://hooks.example:{receiver.port}/")
        bad = parse_target(f"https://other.example:{receiver.port}/")
        answer = await client.exchange(WireRequest("GET", good), timeout_s=5, max_bytes=MAX)
        with pytest.raises(WireError, match="not OK"):
            await client.exchange(WireRequest("GET", bad), timeout_s=5, max_bytes=MAX)
        await client.close()
    assert answer.status == 200


async def test_https_to_a_port_that_speaks_http_is_a_clear_error() -> None:
    async def complain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(complain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await send(f"https://127.0.0.1:{port}/", allow_private=True) == (None, "SSL connect error")
    server.close()


async def test_a_handshake_that_never_ends_ends_with_the_time_and_leaves_no_socket_behind() -> None:
    gone = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass
        gone.set()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    client = WireClient(AddressGuard(allow_private=True))
    target = parse_target(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    with pytest.raises(WireError) as late:
        await client.exchange(WireRequest("GET", target), timeout_s=0.2, max_bytes=MAX)
    async with asyncio.timeout(5):
        await gone.wait()
    assert late.value.failure == "timeout"
    await client.close()
    server.close()
