"""Cross-origin rules and trace headers of REST, with PostgREST's answers (CorsSpec, ObservabilitySpec)."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx2
import pytest

from basalt.access import BearerAuthoriser
from basalt.config import RateLimitSettings, RestSettings
from basalt.gateway import Gateway
from basalt.gateway.cors import REST_EXPOSED, RestCors
from basalt.gateway.edges import RestEdge
from basalt.gateway.limits import RequestLimits
from basalt.http import Request, Response, json_response
from tests.gateway.serving import serving

pytestmark = pytest.mark.req("P5")

Serve = Callable[[RestSettings], AbstractAsyncContextManager[httpx2.AsyncClient]]
ASKED = {
    "origin": "http://example.com",
    "access-control-request-method": "POST",
    "access-control-request-headers": "Foo,Bar",
}


class Echo:
    """Tells what reached it; OPTIONS is answered as PostgREST does."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def respond(self, request: Request) -> Response:
        if request.path == "/crash":
            raise RuntimeError
        if request.method == "OPTIONS":
            return Response(200, [(b"allow", b"OPTIONS,GET"), (b"access-control-allow-origin", b"*")])
        return json_response({"path": request.path, "prefix": request.prefix, "id": request.request_id})


@pytest.fixture
def settings() -> dict[str, RestSettings]:
    """The settings in force, to be replaced while it serves."""
    return {"now": RestSettings()}


@pytest.fixture
def serve(settings: dict[str, RestSettings]) -> Serve:
    @asynccontextmanager
    async def run(initial: RestSettings) -> AsyncIterator[httpx2.AsyncClient]:
        settings["now"] = initial
        limits = RequestLimits(
            RateLimitSettings(enabled=False), BearerAuthoriser(initial), trusts_header=False
        )
        edge = RestEdge(lambda: settings["now"], open_cors=RestCors(), exposed=REST_EXPOSED)
        gateway = Gateway(
            {"": Echo()}, limits, base_url="http://api.test", max_body_bytes=1000, edges={"": edge}
        )
        async with serving(gateway) as url, httpx2.AsyncClient(base_url=url) as client:
            yield client

    return run


async def test_a_service_at_the_root_gets_every_path(serve: Serve) -> None:
    async with serve(RestSettings()) as client:
        for path in ("/", "/films", "/rpc/add", "/health", "/a/b/"):
            answer = (await client.get(path)).json()
            assert (answer["path"], answer["prefix"]) == (path, "")


async def test_any_origin_may_call_when_none_is_listed(serve: Serve) -> None:
    async with serve(RestSettings()) as client:
        asked = await client.request("OPTIONS", "/crash", headers=ASKED)
        assert asked.status_code == 200
        assert asked.content == b""
        assert asked.headers["access-control-allow-origin"] == "*"
        assert asked.headers["access-control-allow-methods"] == "GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD"
        assert asked.headers["access-control-allow-headers"] == (
            "Authorization, Foo, Bar, Accept, Accept-Language, Content-Language"
        )
        assert asked.headers["access-control-max-age"] == "86400"
        for path in ("/films", "/crash"):
            answer = await client.get(path, headers={"origin": "http://example.com"})
            assert answer.headers["access-control-allow-origin"] == "*"
            assert answer.headers["access-control-expose-headers"] == (
                "Content-Encoding, Content-Location, Content-Range, Content-Type, Date, Location, Server, "
                "Transfer-Encoding, Range-Unit"
            )
        assert "access-control-allow-origin" not in (await client.get("/films")).headers


async def test_options_that_are_no_preflight_reach_the_service(serve: Serve) -> None:
    async with serve(RestSettings()) as client:
        for headers in (
            {},
            {"origin": "http://a"},
            {**ASKED, "access-control-request-method": "BREW"},
        ):
            answer = await client.request("OPTIONS", "/films", headers=headers)
            assert answer.headers["allow"] == "OPTIONS,GET"
            assert answer.headers.get_list("access-control-allow-origin") == ["*"]


async def test_listed_origins_are_echoed_with_credentials_and_others_left_out(serve: Serve) -> None:
    listed = RestSettings(server_cors_allowed_origins=("http://example.com", "http://example2.com"))
    async with serve(listed) as client:
        for origin in listed.server_cors_allowed_origins:
            asked = await client.request("OPTIONS", "/films", headers={**ASKED, "origin": origin})
            plain = await client.get("/films", headers={"origin": origin})
            for answer in (asked, plain):
                assert answer.headers["access-control-allow-origin"] == origin
                assert answer.headers["access-control-allow-credentials"] == "true"
                assert "Origin" in answer.headers.get_list("vary")
            assert "allow" not in asked.headers
        other = {"origin": "http://invalid.com"}
        assert "access-control-allow-origin" not in (await client.get("/films", headers=other)).headers
        refused = await client.request("OPTIONS", "/films", headers={**ASKED, **other})
        assert "access-control-allow-methods" not in refused.headers


@pytest.mark.parametrize("path", ["/films", "/crash"])
async def test_the_trace_header_is_sent_back(serve: Serve, path: str) -> None:
    async with serve(RestSettings(server_trace_header="X-Trace")) as client:
        assert (await client.get(path, headers={"x-trace": "a b/7"})).headers["x-trace"] == "a b/7"
        absent = await client.get(path)
        assert absent.headers["x-trace"] == ""
        assert len(absent.headers["x-request-id"]) == 32
        asked = await client.request("OPTIONS", path, headers={**ASKED, "x-trace": "2"})
        assert asked.headers["x-trace"] == "2"


async def test_the_request_id_as_trace_header_is_sent_once_and_as_it_came(serve: Serve) -> None:
    async with serve(RestSettings(server_trace_header="X-Request-Id")) as client:
        for given in ("1", "not fit for a log {}"):
            answer = await client.get("/films", headers={"x-request-id": given})
            assert answer.headers.get_list("x-request-id") == [given]
        answer = await client.get("/films")
        assert answer.headers["x-request-id"] == answer.json()["id"]


async def test_other_settings_count_from_the_next_request(
    serve: Serve, settings: dict[str, RestSettings]
) -> None:
    async with serve(RestSettings()) as client:
        assert "x-trace" not in (await client.get("/films")).headers
        settings["now"] = RestSettings(
            server_trace_header="x-trace", server_cors_allowed_origins=("http://a",)
        )
        answer = await client.get("/films", headers={"x-trace": "1", "origin": "http://a"})
        assert (answer.headers["x-trace"], answer.headers["access-control-allow-origin"]) == ("1", "http://a")
