"""Rules of rate limits over real HTTP, in front of a small service."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from basalt.access import Authoriser, ProjectKeys, load_project_keys
from basalt.config import ConfigError, RateLimitRuleSettings, RateLimitSettings, load_settings
from basalt.errors import BasaltError
from basalt.gateway import Gateway
from basalt.gateway.limits import LIMITED, RequestLimits
from basalt.http import ClientAddresses, Request, Response, json_response
from basalt.kv import RateStore, build_rates
from basalt.postgres import DatabaseAccess
from tests.bus.brokers import Postgres, Server, has_server, running_server
from tests.gateway.serving import serving

pytestmark = pytest.mark.req("P15")

Answers = list[int]
Serve = Callable[..., AbstractAsyncContextManager["Asking"]]


class Echo:
    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def respond(self, request: Request) -> Response:
        if request.path == "/refuse":
            raise BasaltError("teapot", 418, "No coffee")
        return json_response({"bytes": len(await request.body())})


class Asking:
    """A client that names its own address, as a proxy would."""

    def __init__(self, http: httpx2.AsyncClient, keys: ProjectKeys) -> None:
        self.http = http
        self.keys = keys

    async def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        address: str = "203.0.113.9",
        user: str | None = None,
        role: str = "authenticated",
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> httpx2.Response:
        sent = {"x-forwarded-for": address, "apikey": self.keys.anon_key, **(headers or {})}
        if user is not None:
            sent["authorization"] = "Bearer " + self.keys.sign({"sub": user, "role": role})
        return await self.http.request(method, path, headers=sent, **options)

    async def statuses(self, times: int, path: str, **options: Any) -> Answers:
        return [(await self.ask(path, **options)).status_code for _ in range(times)]


@pytest.fixture
def keys(tmp_path: Path) -> ProjectKeys:
    settings = load_settings(tmp_path, {})
    return load_project_keys(settings.state_dir, settings)


@pytest.fixture
def serve(keys: ProjectKeys) -> Serve:
    @asynccontextmanager
    async def start(
        rules: Mapping[str, RateLimitRuleSettings] | None = None,
        *,
        store: RateStore | None = None,
        addresses: ClientAddresses | None = None,
        trusts_header: bool = True,
        **settings: Any,
    ) -> AsyncIterator[Asking]:
        limits = RequestLimits(
            RateLimitSettings(**{"anonymous_per_minute": 0, **settings}, rules=rules or {}),
            Authoriser(keys),
            trusts_header=trusts_header,
            passes={"/storage/v1": lambda request: request.path.startswith("/object/public")},
            store=store,
        )
        gateway = Gateway(
            {"/rest/v1": Echo(), "/auth/v1": Echo(), "/storage/v1": Echo(), "/health": Echo()},
            limits,
            base_url="http://api.test",
            max_body_bytes=2_000_000,
            client_addresses=addresses or ClientAddresses("x-forwarded-for"),
        )
        async with serving(gateway) as url, httpx2.AsyncClient(base_url=url) as http:
            yield Asking(http, keys)

    return start


def rule(**settings: Any) -> RateLimitRuleSettings:
    return RateLimitRuleSettings(**{"limit": 2, "per_s": 3600.0, **settings})


async def test_a_rule_is_for_its_paths_and_methods(serve: Serve) -> None:
    writes = rule(paths=("/rest/v1/gigs", "/rest/v1/rpc/*/run"), methods=("post", "PATCH"))
    async with serve({"writes": writes}) as client:
        assert await client.statuses(3, "/rest/v1/gigs", method="POST") == [200, 200, 429]
        assert await client.statuses(1, "/rest/v1/gigs/7", method="PATCH") == [429]
        assert await client.statuses(1, "/rest/v1/rpc/any/run", method="POST") == [429]
        for free in ("/rest/v1/gigs_old", "/rest/v1/rpc/run", "/auth/v1/gigs"):
            assert await client.statuses(3, free, method="POST") == [200] * 3, free
        assert await client.statuses(3, "/rest/v1/gigs") == [200] * 3


async def test_a_path_in_other_spelling_is_the_same_path(serve: Serve) -> None:
    async with serve({"gigs": rule(paths=("/rest/v1/gigs",))}) as client:
        paths = ("/rest/v1/gigs", "/rest/v1/%67igs", "/rest/v1/gigs?select=id")
        assert [(await client.ask(path)).status_code for path in paths] == [200, 200, 429]


async def test_a_rule_is_for_its_roles_and_never_for_a_secret_key_unasked(serve: Serve) -> None:
    rules = {
        "users": rule(roles=("authenticated",), count_by=()),
        "jobs": rule(roles=("service_role",), limit=3),
    }
    async with serve(rules) as client:
        assert await client.statuses(4, "/rest/v1/a") == [200] * 4
        told = [(await client.ask("/rest/v1/a", user=user)).status_code for user in ("ada", "bob", "eve")]
        assert told == [200, 200, 429]
        secret = {"apikey": client.keys.secret_key}
        assert await client.statuses(4, "/rest/v1/a", headers=secret) == [200, 200, 200, 429]
    async with serve({"all": rule(count_by=())}) as client:
        assert await client.statuses(3, "/rest/v1/a", headers={"apikey": client.keys.secret_key}) == [200] * 3


async def test_addresses_are_counted_apart_and_a_network_of_ipv6_is_one(serve: Serve) -> None:
    async with serve({"ip": rule()}) as client:
        assert await client.statuses(3, "/rest/v1/a") == [200, 200, 429]
        assert await client.statuses(1, "/rest/v1/a", address="203.0.113.10") == [200]
        told = [(await client.ask("/rest/v1/a", address=f"2001:db8::{n:x}")).status_code for n in range(1, 4)]
        assert told == [200, 200, 429]
        assert await client.statuses(1, "/rest/v1/a", address="2001:db8:0:1::1") == [200]


async def test_users_are_counted_apart_wherever_they_come_from(serve: Serve) -> None:
    async with serve({"user": rule(count_by=("user",))}) as client:
        told = [
            (await client.ask("/rest/v1/a", user="ada", address=f"192.0.2.{n}")).status_code for n in range(3)
        ]
        assert told == [200, 200, 429]
        assert await client.statuses(1, "/rest/v1/a", user="bob") == [200]
        # Without a user the address counts, and a user who calls himself like one does not share it.
        assert await client.statuses(3, "/rest/v1/a") == [200, 200, 429]
        assert await client.statuses(1, "/rest/v1/a", user="203.0.113.9") == [200]


async def test_endpoints_are_counted_apart(serve: Serve) -> None:
    async with serve({"endpoint": rule(count_by=("ip", "route"))}) as client:
        assert await client.statuses(3, "/rest/v1/gigs") == [200, 200, 429]
        assert await client.statuses(1, "/rest/v1/gigs/1/more") == [429]
        assert await client.statuses(1, "/rest/v1/rpc/near") == [200]
        assert await client.statuses(1, "/rest/v1/rpc/far") == [200]


async def test_a_header_of_any_length_is_counted_by(serve: Serve) -> None:
    async with serve({"tenant": rule(count_by=("header:X-Tenant",))}) as client:
        long = "t" * 8000
        for tenant in ("a", "a|b", long + "a", long + "b"):
            headers = {"x-tenant": tenant}
            assert await client.statuses(3, "/rest/v1/a", headers=headers) == [200, 200, 429]
        assert await client.statuses(3, "/rest/v1/a") == [200, 200, 429]


@pytest.mark.parametrize(
    ("same", "other"),
    [
        (({"email": "Ada@Example.com"}, {"email": " ada@example.com "}), {"email": "bob@example.com"}),
        (({"phone": "+65 9123-4567"}, {"phone": "6591234567"}), {"phone": "+6590000000"}),
        (({"phone": "+65 9123 4567"}, {"phone": "+６５９１２٣٤567"}), {"phone": "+6590000000"}),
        (({"phone": "+65 9123 FLOW"}, {"phone": "+65 9123 elmw"}), {"phone": "+6590000000"}),
        # A second number beside the first one is no way around.
        (({"email": "ada@example.com"}, {"email": "ada@example.com", "phone": "1"}), {"phone": "2"}),
    ],
)
async def test_numbers_are_counted_wherever_they_are_asked_from(
    serve: Serve, same: tuple[dict[str, str], ...], other: dict[str, str]
) -> None:
    codes = rule(paths=("/auth/v1/otp", "/auth/v1/recover"), count_by=("number",))
    async with serve({"codes": codes}) as client:

        async def ask(body: Any, number: int, path: str = "/auth/v1/otp") -> int:
            raw = json.dumps(body).encode()
            answer = await client.ask(path, method="POST", content=raw, address=f"192.0.2.{number}")
            if answer.status_code == 200:
                assert answer.json()["bytes"] == len(raw)  # the service reads it too
            return answer.status_code

        assert [await ask(body, n) for n, body in enumerate(same)] == [200, 200]
        assert await ask(same[0], 9, "/auth/v1/recover") == 429
        assert await ask(other, 1) == 200
        for without in ({}, [], "x", {"email": None}, {"email": 7}, {"phone": "no digits"}):
            assert [await ask(without, 1) for _ in range(3)] == [200] * 3


async def test_a_body_that_is_too_large_to_be_looked_at_is_refused(serve: Serve) -> None:
    codes = rule(paths=("/auth/v1/otp",), count_by=("number",))
    async with serve({"codes": codes}) as client:
        padded = json.dumps({"pad": "x" * 1_100_000, "email": "ada@example.com"})
        assert (await client.ask("/auth/v1/otp", method="POST", content=padded)).status_code == 413
        assert (await client.ask("/auth/v1/other", method="POST", content=padded)).status_code == 200


async def test_every_limited_answer_tells_how_its_caller_stands(serve: Serve) -> None:
    rules = {
        "minute": rule(limit=60, per_s=60.0, burst=3),
        "hour": rule(limit=100, per_s=3600.0),
        "quiet": rule(limit=1, shadow=True),
    }
    async with serve(rules) as client:
        for left, path in ((2, "/rest/v1/a"), (1, "/rest/v1/refuse")):
            answer = await client.ask(path, headers={"origin": "https://app.test"})
            told = {name: value for name, value in answer.headers.items() if name.startswith("ratelimit")}
            assert told == {
                "ratelimit-limit": "3",
                "ratelimit-remaining": str(left),
                "ratelimit-reset": str(3 - left),
                "ratelimit-policy": '"minute";q=60;w=60, "hour";q=100;w=3600',
            }
            exposed = answer.headers["access-control-expose-headers"]
            assert {
                "RateLimit-Limit",
                "RateLimit-Remaining",
                "RateLimit-Reset",
                "RateLimit-Policy",
                "Retry-After",
            } <= {name.strip() for name in exposed.split(",")}
        await client.ask("/rest/v1/a")
        over = await client.ask("/rest/v1/a")
        assert over.status_code == 429
        assert over.headers["retry-after"] == "1"
        assert over.headers["ratelimit-remaining"] == "0"
        error = over.json()["error"]
        assert (error["code"], error["details"]) == ("rate_limit_exceeded", {"rule": "minute"})
        assert error["message"] == "Over the limit of 60 requests a minute"
        assert "ratelimit-limit" not in (await client.ask("/health")).headers


async def test_the_tightest_rule_is_told_and_the_longest_wait(serve: Serve) -> None:
    rules = {
        "wide": rule(limit=100),
        "narrow": rule(limit=2, per_s=86400.0),
        "short": rule(limit=2, per_s=60.0),
    }
    async with serve(rules) as client:
        first = await client.ask("/rest/v1/a")
        assert (first.headers["ratelimit-limit"], first.headers["ratelimit-remaining"]) == ("2", "1")
        assert first.headers["ratelimit-reset"] == "43200"
        await client.ask("/rest/v1/a")
        over = await client.ask("/rest/v1/a")
        assert 43_000 < int(over.headers["retry-after"]) <= 43_200
        assert over.json()["error"]["details"] == {"rule": "narrow"}


async def test_a_shadow_rule_reports_and_refuses_nothing(
    serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serve({"trial": rule(limit=1, shadow=True)}) as client:
        before = counted("trial", "shadow")
        assert await client.statuses(4, "/rest/v1/a") == [200] * 4
        assert "ratelimit-limit" not in (await client.ask("/rest/v1/a")).headers
        assert counted("trial", "shadow") == before + 4
    assert "rate_limit_shadow" in capfd.readouterr().err


async def test_refusals_are_counted_by_rule(serve: Serve) -> None:
    async with serve({"counted": rule(limit=1)}) as client:
        before = counted("counted", "refused")
        await client.statuses(4, "/rest/v1/a")
        assert counted("counted", "refused") == before + 3


async def test_what_a_service_lets_pass_only_rules_for_its_path_limit(serve: Serve) -> None:
    rules = {"all": rule(limit=1), "public": rule(paths=("/storage/v1/object/public",), limit=3)}
    async with serve(rules) as client:
        assert await client.statuses(4, "/storage/v1/object/public/b/x") == [200, 200, 200, 429]
        assert await client.statuses(2, "/rest/v1/a") == [200, 429]


async def test_a_development_machine_is_counted_by_no_address(serve: Serve) -> None:
    rules = {
        "ip": rule(),
        "user": rule(count_by=("user",)),
        "route": rule(paths=("/auth/v1",), count_by=("route",)),
    }
    nobody = ClientAddresses(None)
    async with serve(rules, addresses=nobody, trusts_header=False, anonymous_per_minute=1) as client:
        assert await client.statuses(5, "/rest/v1/a") == [200] * 5
        assert await client.statuses(3, "/rest/v1/a", user="ada") == [200, 200, 429]
        assert await client.statuses(3, "/auth/v1/token") == [200, 200, 429]


async def test_who_is_no_proxy_names_no_other_client(serve: Serve) -> None:
    """This test is the peer, 127.0.0.1."""
    stranger = ClientAddresses("x-forwarded-for", ["10.0.0.0/8"])
    async with serve({"ip": rule()}, addresses=stranger) as client:
        told = [(await client.ask("/rest/v1/a", address=f"192.0.2.{n}")).status_code for n in range(3)]
        assert told == [200, 200, 429]
    proxy = ClientAddresses("x-forwarded-for", ["127.0.0.1"])
    async with serve({"ip": rule()}, addresses=proxy) as client:
        told = [
            (await client.ask("/rest/v1/a", address=f"6.6.6.{n}, 203.0.113.9")).status_code for n in range(3)
        ]
        assert told == [200, 200, 429]


# --- several gateways


@pytest.fixture(params=["postgres", "redis"])
def broker(
    request: pytest.FixtureRequest, database: DatabaseAccess, cluster_access: DatabaseAccess, tmp_path: Path
) -> Any:
    if request.param == "postgres":
        yield Postgres(database, cluster_access)
    elif not has_server("redis"):
        pytest.skip("redis-server is not installed (tools/install-test-brokers)")
    else:
        with running_server("redis", tmp_path) as server:
            yield server


def open_store(broker: Server | Postgres) -> RateStore:
    is_redis = isinstance(broker, Server)
    return build_rates(
        RateLimitSettings(store="redis" if is_redis else "postgres", timeout_s=5.0),
        conninfo="" if is_redis else broker.access.conninfo("authenticator"),  # type: ignore[union-attr]
        project_id="shop",
        url=broker.url if is_redis else None,  # type: ignore[union-attr]
    )


async def test_two_gateways_count_together_and_each_rule_says_what_happens_without_the_store(
    serve: Serve, broker: Server | Postgres
) -> None:
    rules = {
        "open": rule(limit=20),
        "closed": rule(paths=("/auth/v1",), fail="closed", limit=100),
    }
    async with serve(rules, store=open_store(broker)) as one, serve(rules, store=open_store(broker)) as two:
        asked = (gateway.ask("/rest/v1/a") for gateway in (one, two) for _ in range(30))
        told = [answer.status_code for answer in await asyncio.gather(*asked)]
        assert sorted(told) == [200] * 20 + [429] * 40
        assert await one.statuses(1, "/auth/v1/otp", address="192.0.2.1") == [200]
        await broker.cut()
        assert await one.statuses(3, "/rest/v1/a") == [200] * 3
        refused = await two.ask("/auth/v1/otp", address="192.0.2.1")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["error"]["code"] == "rate_limit_unavailable"
        await broker.restore()
        async with asyncio.timeout(20):
            while (await two.ask("/auth/v1/otp", address="192.0.2.1")).status_code != 200:
                await asyncio.sleep(0.05)


# --- settings


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[basalt.rate_limit.rules.a]\ncount_by = ['phase']", "rules.a.count_by"),
        ("[basalt.rate_limit.rules.a]\ncount_by = ['number']", "needs `paths`"),
        ("[basalt.rate_limit.rules.a]\npaths = ['rest/v1']", "rules.a.paths"),
        ("[basalt.rate_limit.rules.a]\nmethods = ['FETCH']", "rules.a.methods"),
        ("[basalt.rate_limit.rules.a]\nlimit = 0", "rules.a.limit"),
        ("[basalt.rate_limit.rules.a]\nfail = 'maybe'", "rules.a.fail"),
        ('[basalt.rate_limit.rules."a b"]\nlimit = 1', "letters, digits"),
        ("[basalt.rate_limit.rules.user_per_minute]\nlimit = 1", "set basalt.rate_limit.user_per_minute"),
        ("[basalt.rate_limit]\nstore = 'redis'", "rate_limit.url"),
        ("[basalt]\ntrusted_proxies = ['10.0.0.1/8']", "host bits set"),
        ("[basalt]\ntrusted_proxies = ['proxy']", "trusted_proxies"),
        ("[basalt]\nclient_address_header = 'X Forwarded'", "client_address_header"),
    ],
)
def test_settings_that_will_not_do_are_named(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "supabase").mkdir()
    (tmp_path / "supabase" / "config.toml").write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        load_settings(tmp_path, {})


def test_rules_are_read_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "supabase").mkdir()
    (tmp_path / "supabase" / "config.toml").write_text(
        "[basalt]\ntrusted_proxies = ['10.0.0.0/8']\n"
        "[basalt.rate_limit.rules.codes]\npaths = ['/auth/v1/otp']\ncount_by = ['number']\nlimit = 3\nper = '1h'\n"
    )
    settings = load_settings(tmp_path, {}).basalt
    assert settings.address_header == "x-forwarded-for"
    codes = settings.rate_limit.rules["codes"]
    assert (codes.limit, codes.per_s, codes.count_by) == (3, 3600.0, ("number",))


def counted(name: str, outcome: str) -> float:
    return next((one.value for one in LIMITED.samples() if one.labels == (name, outcome)), 0.0)
