"""The gateway over real HTTP, in front of a small service that tells what reached it."""

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from basalt import observe
from basalt.access import Authoriser, ProjectKeys, load_project_keys
from basalt.config import RateLimitSettings, load_settings
from basalt.errors import BasaltError
from basalt.gateway import Gateway
from basalt.gateway.limits import RequestLimits
from basalt.gateway.serve import _serve_beside
from basalt.http import ClientAddresses, Request, Response, json_response
from basalt.observe.log import _LibraryHandler
from basalt.observe.metrics import snapshot
from tests.gateway.serving import serving
from tests.ports import free_port


class Echo:
    """Answers with what it was asked; some paths misbehave."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def respond(self, request: Request) -> Response:
        if request.path == "/crash":
            raise RuntimeError("the password is hunter2")
        if request.path == "/refuse":
            raise BasaltError("teapot", 418, "No coffee", details={"pot": 1}, hint="Ask for tea")
        if request.path == "/stream":
            return Response(200, [], self._chunks())
        if request.path == "/break":
            return Response(200, [], self._break())
        body = await request.body()
        return json_response(
            {
                "path": request.path,
                "raw": request.raw_path,
                "prefix": request.prefix,
                "bytes": len(body),
                "id": request.request_id,
                "outgoing": observe.outgoing_headers(),
            }
        )

    async def _chunks(self) -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async def _break(self) -> AsyncIterator[bytes]:
        yield b"one "
        raise RuntimeError("in the middle")


@pytest.fixture
def keys(tmp_path: Path) -> ProjectKeys:
    settings = load_settings(tmp_path, {})
    return load_project_keys(settings.state_dir, settings)


@pytest.fixture
async def client(keys: ProjectKeys) -> AsyncIterator[httpx2.AsyncClient]:
    limits = RequestLimits(
        RateLimitSettings(anonymous_per_minute=3, user_per_minute=5), Authoriser(keys), trusts_header=True
    )
    gateway = Gateway(
        {"/rest/v1": Echo()},
        limits,
        base_url="http://api.test",
        max_body_bytes=1000,
        client_addresses=ClientAddresses("x-real-ip"),
    )
    headers = {"apikey": keys.secret_key}
    async with serving(gateway) as url, httpx2.AsyncClient(base_url=url, headers=headers) as http:
        yield http


async def test_a_service_sees_its_path_without_the_prefix(client: httpx2.AsyncClient) -> None:
    answer = (await client.post("/rest/v1/a%20b", content=b"xyz")).json()
    assert answer["path"] == "/a b"
    assert answer["raw"] == "/a%20b"
    assert answer["bytes"] == 3


@pytest.mark.req("P16")
async def test_errors_have_the_structured_shape(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/rest/v1/refuse", headers={"x-request-id": "abc-1"})
    error = answer.json()["error"]
    assert answer.status_code == 418
    assert error.pop("timestamp").endswith("Z")
    assert error == {
        "code": "teapot",
        "message": "No coffee",
        "details": {"pot": 1},
        "hint": "Ask for tea",
        "requestId": "abc-1",
    }


@pytest.mark.req("P16")
async def test_an_unexpected_exception_tells_nothing_but_the_request_id(
    client: httpx2.AsyncClient, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = await client.get("/rest/v1/crash")
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    logged = next(line for line in lines if line["event"] == "request_crashed")
    assert logged["request_id"] == answer.json()["error"]["requestId"]
    assert "hunter2" in logged["traceback"]


@pytest.mark.req("P16")
async def test_the_request_id_is_taken_over_when_harmless_and_made_otherwise(
    client: httpx2.AsyncClient,
) -> None:
    taken = await client.get("/rest/v1/x", headers={"x-request-id": "my.id-7"})
    made = await client.get("/rest/v1/x", headers={"x-request-id": "evil\tid {}"})
    assert taken.headers["x-request-id"] == taken.json()["id"] == "my.id-7"
    assert len(made.headers["x-request-id"]) == 32


@pytest.mark.req("P16")
async def test_an_answer_that_breaks_off_is_logged_with_its_id_and_counted(
    client: httpx2.AsyncClient, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [_LibraryHandler()])
    with pytest.raises(httpx2.RemoteProtocolError):
        await client.get("/rest/v1/break", headers={"x-request-id": "broken-1"})
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    [logged] = [line for line in lines if "in the middle" in line.get("error", "")]
    assert logged["request_id"] == "broken-1"
    failed = next(one for one in snapshot() if one.name == "basalt_http_requests_total")
    assert any(sample.labels == ("rest", "", "GET", "5xx") for sample in failed.samples)


@pytest.mark.req("P16", "P17")
async def test_requests_of_one_connection_have_nothing_of_each_other(client: httpx2.AsyncClient) -> None:
    """Sent at once, the second one begins while the first one's task ends."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    key = client.headers["apikey"].encode()
    head = b"GET /rest/v1/x HTTP/1.1\r\nhost: a\r\napikey: " + key + b"\r\n"
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    writer.write(
        head
        + f"traceparent: {trace}\r\ntracestate: a=1\r\nx-request-id: first\r\n\r\n".encode()
        + head
        + b"connection: close\r\n\r\n"
    )
    async with asyncio.timeout(10):
        answers = (await reader.read(-1)).decode()
    writer.close()
    first, second = [json.loads(body)["outgoing"] for body in re.findall(r"^{.*}", answers, re.MULTILINE)]
    assert first == {"x-request-id": "first", "traceparent": trace, "tracestate": "a=1"}
    assert set(second) == {"x-request-id"}
    assert second["x-request-id"] != "first"


async def test_unknown_paths_are_404(client: httpx2.AsyncClient) -> None:
    for path in ("/", "/rest", "/rest/v2/x", "/rest/v1x", "/nothing", "//rest/v1"):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), path


async def test_a_body_over_the_limit_is_refused_announced_or_not(client: httpx2.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 100

    announced = await client.post("/rest/v1/x", content=b"x" * 1001)
    streamed = await client.post("/rest/v1/x", content=chunks())
    for answer in (announced, streamed):
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")
        assert "basalt.max_body_bytes" in answer.json()["error"]["hint"]


async def test_paths_that_are_not_utf8_or_hold_nul_are_400(client: httpx2.AsyncClient) -> None:
    for path in ("/rest/v1/%ff", "/rest/v1/a%00b"):
        assert (await client.get(path)).status_code == 400


async def test_a_preflight_is_answered_by_the_gateway(client: httpx2.AsyncClient) -> None:
    asked = {
        "origin": "https://app.test",
        "access-control-request-method": "PATCH",
        "access-control-request-headers": "x-own",
    }
    answer = await client.request("OPTIONS", "/rest/v1/crash", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-headers"] == "x-own"
    assert "PATCH" in answer.headers["access-control-allow-methods"]


async def test_other_origins_may_read_answers_and_errors(client: httpx2.AsyncClient) -> None:
    for path in ("/rest/v1/x", "/rest/v1/refuse", "/rest/v1/crash"):
        answer = await client.get(path, headers={"origin": "https://app.test"})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "Content-Range" in answer.headers["access-control-expose-headers"]


async def test_a_streamed_answer_arrives_whole(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/rest/v1/stream")).text == "one two"


@pytest.mark.req("P15")
async def test_requests_without_a_user_are_limited_by_address(
    client: httpx2.AsyncClient, keys: ProjectKeys
) -> None:
    async def ask(address: str, **headers: str) -> httpx2.Response:
        return await client.get("/rest/v1/x", headers={"x-real-ip": address, **headers})

    anonymous = [await ask("203.0.113.7", apikey=keys.anon_key) for _ in range(4)]
    assert [answer.status_code for answer in anonymous] == [200, 200, 200, 429]
    assert 1 <= int(anonymous[3].headers["retry-after"]) <= 20
    assert anonymous[3].json()["error"]["code"] == "rate_limit_exceeded"
    assert (await ask("203.0.113.8", apikey=keys.anon_key)).status_code == 200
    assert (await ask("203.0.113.7", apikey=keys.secret_key)).status_code == 200


@pytest.mark.req("P15")
async def test_what_a_service_lets_pass_is_not_limited(keys: ProjectKeys) -> None:
    limits = RequestLimits(
        RateLimitSettings(anonymous_per_minute=1),
        Authoriser(keys),
        trusts_header=True,
        passes={"/files": lambda request: request.path == "/free"},
    )
    gateway = Gateway({"/files": Echo()}, limits, base_url="http://api.test", max_body_bytes=1000)
    async with serving(gateway) as url, httpx2.AsyncClient(base_url=url) as http:
        free = [(await http.get("/files/free")).status_code for _ in range(4)]
        limited = [(await http.get("/files/other")).status_code for _ in range(2)]
    assert (free, limited) == ([200] * 4, [200, 429])


@pytest.mark.req("P15")
async def test_users_are_limited_by_user(client: httpx2.AsyncClient, keys: ProjectKeys) -> None:
    def headers(user: str) -> dict[str, str]:
        return {"authorization": "Bearer " + keys.sign({"sub": user, "role": "authenticated"})}

    statuses = [(await client.get("/rest/v1/x", headers=headers("one"))).status_code for _ in range(6)]
    assert statuses == [200] * 5 + [429]
    assert (await client.get("/rest/v1/x", headers=headers("two"))).status_code == 200


@pytest.mark.req("P5")
@pytest.mark.parametrize(
    "beginning",
    [
        b"GET /rest/v1/x HTTP/1.1\r\nx-long: ",
        b"GET /",
        b"POST /rest/v1/x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-trailer: ",
    ],
    ids=["header", "path", "trailer"],
)
async def test_a_head_without_end_is_not_gathered(client: httpx2.AsyncClient, beginning: bytes) -> None:
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    writer.write(beginning)
    answer = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(10):
            for _ in range(200):
                writer.write(b"a" * 65_536)
                await writer.drain()
            answer = await reader.read()
    writer.close()
    assert answer == b"" or answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))
    assert (await client.get("/rest/v1/x")).status_code == 200


async def test_a_gateway_beside_other_parts_says_that_it_could_not_start(
    tmp_path: Path, keys: ProjectKeys
) -> None:
    """Or whoever keeps it running would begin again at once, for ever."""

    class Away(Echo):
        async def open(self) -> None:
            raise RuntimeError("its database is away")

    limits = RequestLimits(RateLimitSettings(enabled=False), Authoriser(keys), trusts_header=False)
    gateway = Gateway({"/rest/v1": Away()}, limits, base_url="http://api.test", max_body_bytes=1000)
    settings = load_settings(tmp_path, {"SUPABASE_API_PORT": str(free_port())})
    with pytest.raises(BasaltError, match="did not start"):
        await _serve_beside(gateway, settings, asyncio.Event(), host="127.0.0.1", port=settings.api.port)
