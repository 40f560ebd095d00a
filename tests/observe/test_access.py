"""Who may look, on the gateway's port and on one of the metrics' own; which requests are logged."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from basalt import observe
from basalt.access import Authoriser, load_project_keys
from basalt.config import ConfigError, RateLimitSettings, Settings, load_settings
from basalt.errors import BasaltError
from basalt.gateway import Gateway
from basalt.gateway.limits import RequestLimits
from basalt.gateway.metrics_page import MetricsPage, MetricsService
from basalt.gateway.metrics_port import MetricsPort
from basalt.gateway.operators import Operators
from basalt.gateway.reporting import Reporter
from basalt.http import Request, Response
from basalt.postgres import DatabaseAccess, access_from_url
from tests.gateway.serving import serving
from tests.ports import free_port

pytestmark = pytest.mark.req("P17")

TOKEN = "a-token-for-prometheus"


def settings_of(folder: Path, **environ: str) -> Settings:
    return load_settings(folder, {f"BASALT_TELEMETRY_{name}": value for name, value in environ.items()})


class Answers:
    """A service that answers with the status in the path."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def respond(self, request: Request) -> Response:
        request.route = "/{status}"
        return Response(int(request.path[1:]))


@asynccontextmanager
async def gateway(settings: Settings, access: DatabaseAccess) -> AsyncIterator[str]:
    authoriser = Authoriser(load_project_keys(settings.state_dir, settings))
    services: dict[str, Any] = {
        "/answers": Answers(),
        "/metrics": MetricsService(settings, access, Operators(settings)),
    }
    limits = RequestLimits(RateLimitSettings(enabled=False), authoriser, trusts_header=False)
    reporter = Reporter(settings.basalt.telemetry, authoriser)
    one = Gateway(services, limits, base_url="http://a", max_body_bytes=1000, reporter=reporter)
    async with serving(one) as url:
        yield url


async def get(url: str, headers: Mapping[str, str] | None = None) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False) as client:
        return await client.get(url, headers=dict(headers or {}))


async def test_a_token_opens_metrics_to_whoever_has_it(database: DatabaseAccess, tmp_path: Path) -> None:
    async with gateway(settings_of(tmp_path, METRICS_TOKEN=TOKEN), database) as url:
        with_token = {"authorization": f"Bearer {TOKEN}", "x-forwarded-for": "203.0.113.9"}
        assert (await get(f"{url}/metrics", with_token)).status_code == 200
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
            refused = await get(f"{url}/metrics", headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "metrics_unauthorized")
            assert TOKEN not in refused.text


async def test_metrics_on_a_port_of_their_own_are_not_on_the_gateways(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    port = free_port()
    settings = settings_of(tmp_path, METRICS_PORT=str(port), METRICS_TOKEN=TOKEN)
    async with gateway(settings, database) as url:
        assert (await get(f"{url}/metrics")).status_code == 404
        own = f"http://127.0.0.1:{port}"
        await answers(own)
        assert (await get(f"{own}/health")).text == "ok\n"
        assert (await get(f"{own}/other")).status_code == 404
        assert (await get(f"{own}/metrics")).status_code == 401
        told = await get(f"{own}/metrics", {"authorization": f"Bearer {TOKEN}"})
        assert (told.status_code, told.headers["content-type"]) == (200, observe.TEXT_FORMAT)
        assert "basalt_postgres_up 1" in told.text


async def answers(url: str) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                await get(f"{url}/health")
            except httpx2.TransportError:
                await asyncio.sleep(0.05)
            else:
                return


async def test_the_port_passes_to_another_process_when_its_holder_ends(
    database: DatabaseAccess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(tmp_path, METRICS_PORT=str(free_port()))
    page, operators = MetricsPage(settings, database), Operators(settings)
    url = f"http://127.0.0.1:{settings.basalt.telemetry.metrics.port}"
    first_stops, second_stops = asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(MetricsPort(settings, page, operators).run(first_stops))
    await answers(url)
    second = asyncio.create_task(MetricsPort(settings, page, operators).run(second_stops))
    await answers(url)
    first_stops.set()
    await first
    await answers(url)
    second_stops.set()
    await second
    assert "metrics_not_listening" not in capsys.readouterr().err


@pytest.mark.parametrize("problem", ["another program", "no such host"])
async def test_a_port_that_cannot_be_had_is_said_once(
    database: DatabaseAccess, tmp_path: Path, capsys: pytest.CaptureFixture[str], problem: str
) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nsomebody else")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as squatter:
        host = "127.0.0.1" if problem == "another program" else "no-such-host.invalid"
        port_number = squatter.sockets[0].getsockname()[1]
        settings = settings_of(tmp_path, METRICS_HOST=host, METRICS_PORT=str(port_number))
        stops = asyncio.Event()
        port = MetricsPort(settings, MetricsPage(settings, database), Operators(settings))
        running = asyncio.create_task(port.run(stops))
        written = ""
        async with asyncio.timeout(10):
            while "metrics_not_listening" not in written:
                await asyncio.sleep(0.02)
                written += capsys.readouterr().err
        stops.set()
        await running
    assert written.count("metrics_not_listening") == 1


async def test_bytes_that_are_no_request_end_the_connection(database: DatabaseAccess, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, METRICS_PORT=str(free_port()))
    stops = asyncio.Event()
    port = MetricsPort(settings, MetricsPage(settings, database), Operators(settings))
    running = asyncio.create_task(port.run(stops))
    await answers(f"http://127.0.0.1:{settings.basalt.telemetry.metrics.port}")
    for sent in (b"\x16\x03\x01\r\n\r\n", b"GET\r\n\r\n", b"x" * 100_000):
        reader, writer = await asyncio.open_connection("127.0.0.1", settings.basalt.telemetry.metrics.port)
        writer.write(sent)
        async with asyncio.timeout(10):
            try:
                read = await reader.read()
            except ConnectionResetError:
                read = b""
        assert read == b"" or read.startswith(b"HTTP/1.1 404")
        writer.close()
    stops.set()
    await running


async def test_a_database_that_is_away_is_a_figure_too(database: DatabaseAccess, tmp_path: Path) -> None:
    away = DatabaseAccess("127.0.0.1", free_port(), "postgres", {"supabase_admin": "x"})
    text = (await MetricsPage(settings_of(tmp_path), away).render()).decode()
    assert "basalt_postgres_up 0" in text
    assert "basalt_queue_jobs" not in text
    elsewhere = settings_of(tmp_path, METRICS_DATABASE="false")
    assert "basalt_postgres_up" not in (await MetricsPage(elsewhere, database).render()).decode()


async def logged(settings: Settings, access: DatabaseAccess, paths: list[str], capsys: Any) -> list[str]:
    async with gateway(settings, access) as url:
        for path in paths:
            await get(url + path)
    lines = [orjson.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    return [line["path"] for line in lines if line["event"] == "request"]


async def test_of_a_sample_those_that_failed_here_are_always_logged(
    database: DatabaseAccess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = ["/answers/200", "/answers/404", "/answers/500", "/answers/503"]
    none = settings_of(tmp_path, ACCESS_LOG_SAMPLE="0")
    assert await logged(none, database, paths, capsys) == ["/answers/500", "/answers/503"]
    assert await logged(settings_of(tmp_path), database, paths, capsys) == paths
    assert await logged(settings_of(tmp_path, ACCESS_LOG="false"), database, paths, capsys) == []


def test_a_collector_without_opentelemetry_is_said_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    settings = settings_of(tmp_path, OTLP_ENDPOINT="http://127.0.0.1:4318")
    with pytest.raises(BasaltError, match="needs OpenTelemetry") as refused, observe.Telemetry(settings):
        pass
    assert (refused.value.code, refused.value.hint) == (
        "telemetry_missing",
        "pip install 'basalt[telemetry]'",
    )


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        ("AXIOM_DATASET", "logs", "axiom.token"),
        ("OTLP_ENDPOINT", "collector:4318", "otlp.endpoint"),
        ("OTLP_SAMPLE_RATIO", "2", "otlp.sample_ratio"),
        ("METRICS_PORT", "70000", "metrics.port"),
    ],
)
def test_settings_that_will_not_do_are_named(tmp_path: Path, name: str, value: str, key: str) -> None:
    with pytest.raises(ConfigError, match=f"basalt.telemetry.{key}"):
        settings_of(tmp_path, **{name: value})


def test_what_is_off_is_not_even_imported() -> None:
    code = (
        "import sys, basalt.gateway.serve, basalt.worker; "
        "print([m for m in sys.modules if m.startswith(('opentelemetry', 'prometheus', 'basalt.observe.axiom'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_database_url_that_cannot_be_read_is_told_without_its_password(tmp_path: Path) -> None:
    """libpq quotes all of it."""
    with pytest.raises(BasaltError, match="cannot be read") as refused:
        access_from_url("postgres//ada:hunter2@db/app", tmp_path)
    assert "hunter2" not in refused.value.message
