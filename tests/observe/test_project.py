"""A running project: what it tells of itself, and one id and one trace that go through all of it."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

import httpx2
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.contract.conftest import run_node
from tests.fakes.axiom import TOKEN, Axiom, axiom
from tests.fakes.collector import Collector, SeenSpan, collector
from tests.fakes.small_server import Received, Reply, small_server
from tests.fakes.twilio import ACCOUNT, FakeTwilio
from tests.fakes.twilio import TOKEN as TWILIO_TOKEN
from tests.notify.conftest import a_user
from tests.projects import write_project
from tests.server import Server, running_server

CONFIG = """
project_id = "observatory"
[basalt.webhooks]
allow_private = true
[basalt.telemetry.otlp]
headers = {{ x-collector-key = "env(COLLECTOR_KEY)" }}
[notify]
enabled = true
environment = "production"
[notify.providers.twilio]
account_sid = "{account}"
auth_token = "{token}"
from = "MG1"
api_url = "{twilio_url}"
"""

MIGRATION = """
create extension pg_net with schema extensions;
create table public.orders (id bigint generated always as identity primary key, item text not null, url text not null);
create function public.notice_order() returns trigger language plpgsql security definer as $$
begin
    perform basalt.enqueue('ship', jsonb_build_object('item', new.item, 'url', new.url));
    perform net.http_post(new.url || '/ordered', '{}');
    return new;
end $$;
create trigger notice_order after insert on public.orders for each row execute function public.notice_order();
create function public.place_order(item text, url text) returns bigint language sql as $$
    insert into public.orders (item, url) values (item, url) returning id
$$;
select public.save_notification_template('order.placed', 'sms', 'Yours, {{ name }}');
"""

SHIP = """
import asyncio
import urllib.request
from basalt.functions import Context, Job

async def perform(job: Job, context: Context) -> object:
    print("shipping", job.payload["item"])
    await asyncio.to_thread(tell, job.payload["url"] + "/shipped", context.outgoing_headers)
    await context.service_db.execute("select net.http_post(%s, '{}')", [job.payload["url"] + "/booked"])
    return {"shipped": True}

def tell(url, headers):
    urllib.request.urlopen(urllib.request.Request(url, b"{}", dict(headers)), timeout=10).close()
"""

REMEMBER = """
async def handler(request, context):
    await context.cache.fetch("nothing")
    return await context.cache.fetch_or_compute("answer", compute, ttl_s=60)

async def compute():
    return 42
"""

BROKEN = """
async def handler(request, context):
    raise RuntimeError("of the author")
"""


@dataclass
class Observatory:
    """The project, and what stands around it. `arrived` is what the outside was sent."""

    server: Server
    collector: Collector
    axiom: Axiom
    outside: str
    arrived: list[Received] = field(default_factory=list)
    texts: FakeTwilio = field(default_factory=FakeTwilio)

    def log(self) -> list[dict[str, object]]:
        lines = self.server.log.read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def place_order(self, item: str, request_id: str, traceparent: str = "") -> list[dict[str, object]]:
        command = ["traced.mjs", item, self.outside, request_id, traceparent]
        return [json.loads(line) for line in run_node(command, self.server).splitlines()]

    def said(self, request_id: str) -> list[str]:
        """What functions printed."""
        logs = (self.server.project_dir / ".basalt" / "logs" / "functions").glob("*.jsonl")
        lines = [json.loads(line) for log in logs for line in log.read_text("utf-8").splitlines()]
        return [line.get("line", "") for line in lines if line.get("request_id") == request_id]

    def sent(self, request_id: str) -> dict[str, Received]:
        return {one.path: one for one in list(self.arrived) if one.headers.get("x-request-id") == request_id}


@pytest.fixture(scope="module")
def observatory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observatory]:
    arrived: list[Received] = []

    def take(request: Received) -> Reply:
        arrived.append(request)
        return Reply(200, b"{}", {"content-type": "application/json"})

    texts = FakeTwilio()
    with (
        collector(**{"x-collector-key": "k-1"}) as spans,
        axiom() as logs,
        small_server(take) as outside,
        small_server(texts.answer) as texts.url,
        running_server(
            a_project(tmp_path_factory.mktemp("observatory"), texts.url),
            BASALT_WORKER_MODE="process",
            BASALT_TELEMETRY_OTLP_ENDPOINT=spans.url,
            COLLECTOR_KEY="k-1",
            BASALT_TELEMETRY_AXIOM_DATASET="logs",
            BASALT_TELEMETRY_AXIOM_TOKEN=TOKEN,
            BASALT_TELEMETRY_AXIOM_URL=logs.url,
            BASALT_TELEMETRY_AXIOM_INTERVAL="100ms",
        ) as server,
    ):
        yield Observatory(server, spans, logs, outside, arrived, texts)


def a_project(folder: Path, twilio_url: str) -> Path:
    files = {
        "config.toml": CONFIG.format(account=ACCOUNT, token=TWILIO_TOKEN, twilio_url=twilio_url),
        "20260101000000_orders.sql": MIGRATION,
        "functions/ship/index.py": SHIP,
        "functions/broken/index.py": BROKEN,
        "functions/remember/index.py": REMEMBER,
    }
    return write_project(folder / "observatory", files)


def until(condition: Callable[[], bool], limit_s: float = 20) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.req("P16", "M7")
def test_one_id_goes_from_the_client_to_the_last_request_and_every_log(observatory: Observatory) -> None:
    request_id = "order-of-ada:7"
    first, second = observatory.place_order("tea", request_id)
    assert first == {"returned": request_id}
    assert second["error"] is None

    paths = {"/ordered", "/shipped", "/booked"}
    until(lambda: set(observatory.sent(request_id)) == paths)

    with psycopg.connect(observatory.server.database_url) as connection:
        enqueued = connection.execute(
            "select count(*) from basalt.jobs where request_id <> %s", [request_id]
        ).fetchone()
    assert enqueued == (0,)
    of_request = [line for line in observatory.log() if line.get("request_id") == request_id]
    assert {line["process"] for line in of_request if line["event"] == "request"} == {"gateway"}
    until(lambda: "shipping tea" in observatory.said(request_id))
    until(lambda: any(event.get("request_id") == request_id for event in observatory.axiom.events))


@pytest.mark.req("P16", "M7")
def test_one_id_goes_from_the_client_to_the_provider_of_a_notification(observatory: Observatory) -> None:
    """Events of several requests are sent in one batch, each message under its own request's id."""
    people = {f"told-{number}": f"+49170123456{number}" for number in range(3)}
    with psycopg.connect(observatory.server.database_url, autocommit=True) as connection:
        users = {request_id: a_user(connection, phone=phone) for request_id, phone in people.items()}
    with observatory.server.client(observatory.server.secret_key) as client:
        for request_id, user_id in users.items():
            event = {
                "event_type": "order.placed",
                "subject_id": str(user_id),
                "context": {"name": request_id},
            }
            answer = client.post(
                "/rest/v1/rpc/issue_notification", json=event, headers={"x-request-id": request_id}
            )
            assert (answer.status_code, answer.headers["x-request-id"]) == (200, request_id), answer.text

    until(lambda: len(observatory.texts.sent) == len(people))
    for request in observatory.texts.requests:
        text, request_id = dict(parse_qsl(request.body.decode())), request.headers["x-request-id"]
        assert (text["To"], text["Body"]) == (people[request_id], f"Yours, {request_id}")

    def delivered() -> set[str]:
        told = [line for line in observatory.log() if line["event"] == "notify_delivered"]
        assert all((line["process"], line["provider"]) == ("worker", "twilio") for line in told)
        return {one for line in told for one in line["request_ids"]}  # type: ignore[attr-defined]

    until(lambda: delivered() == set(people))
    with psycopg.connect(observatory.server.database_url) as connection:
        noted = connection.execute("select request_id from public.notification_events").fetchall()
    assert {request_id for (request_id,) in noted} == set(people)
    until(lambda: any(span.name == "deliver twilio" for span in list(observatory.collector.spans)))


@pytest.mark.req("P16")
def test_an_id_that_would_be_dangerous_in_a_log_is_replaced(observatory: Observatory) -> None:
    with observatory.server.client() as client:
        answer = client.get("/auth/v1/settings", headers={"x-request-id": 'a" , "level": "error'})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


@pytest.mark.req("P16")
@pytest.mark.parametrize(
    ("path", "status"),
    [("/nowhere", 404), ("/functions/v1/broken", 500), ("/metrics/nothing", 404), ("/%ff", 400)],
)
def test_errors_have_one_shape_where_the_contract_has_none(
    observatory: Observatory, path: str, status: int
) -> None:
    headers = {"apikey": observatory.server.secret_key, "x-request-id": "error-1"}
    answer = httpx2.get(observatory.server.url + path, headers=headers)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert {"code", "message", "timestamp", "requestId"} <= set(error)
    assert error["requestId"] == answer.headers["x-request-id"] == "error-1"


@pytest.mark.req("P17", "M7")
def test_one_trace_has_the_request_its_statements_the_job_the_function_and_what_they_send(
    observatory: Observatory,
) -> None:
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    observatory.place_order("cake", "traced-1", f"00-{trace}-{parent}-01")
    until(lambda: set(observatory.sent("traced-1")) == {"/ordered", "/shipped", "/booked"})
    wanted = {"POST /rest/rpc/{routine}", "postgresql", "job ship", "function ship", "POST"}
    until(lambda: wanted <= {span.name for span in observatory.collector.trace(trace)})
    until(lambda: sum(span.name == "POST" for span in observatory.collector.trace(trace)) == 2)
    spans = {span.id: span for span in observatory.collector.trace(trace)}

    def path(span: SeenSpan) -> list[str]:
        above = spans.get(span.parent)
        return [*(path(above) if above is not None else []), span.name]

    request = next(span for span in spans.values() if span.name == "POST /rest/rpc/{routine}")
    assert (request.parent, request.service, request.kind) == (parent, "basalt-gateway", 2)
    assert request.attributes["basalt.request_id"] == "traced-1"
    assert request.attributes["http.response.status_code"] == 200
    paths = {">".join(path(span)) for span in spans.values()}
    start = "POST /rest/rpc/{routine}"
    assert {
        f"{start}>postgresql",
        f"{start}>job ship>function ship",
        f"{start}>POST",
        f"{start}>job ship>function ship>POST",
    } <= paths
    statement = next(
        span for span in spans.values() if span.name == "postgresql" and span.parent == request.id
    )
    assert "place_order" in str(statement.attributes["db.query.text"])
    assert "cake" not in str(statement.attributes["db.query.text"])
    outgoing = {span.id for span in spans.values() if span.name in ("POST", "function ship")}
    for one in observatory.sent("traced-1").values():
        _, seen_trace, seen_parent, _ = one.headers["traceparent"].split("-")
        assert seen_trace == trace
        assert seen_parent in outgoing
    assert observatory.collector.problems == []


@pytest.mark.req("P17")
def test_a_trace_begins_here_where_nobody_began_one(observatory: Observatory) -> None:
    with observatory.server.client() as client:
        client.get("/auth/v1/settings", headers={"x-request-id": "begun-here", "traceparent": "00-nonsense"})

    def found() -> list[SeenSpan]:
        spans = list(observatory.collector.spans)
        return [span for span in spans if span.attributes.get("basalt.request_id") == "begun-here"]

    until(lambda: bool(found()))
    assert [(span.name, span.parent) for span in found()] == [("GET /auth/settings", "")]


@pytest.mark.req("P17")
def test_a_failed_function_is_a_failed_span(observatory: Observatory) -> None:
    with observatory.server.client(observatory.server.secret_key) as client:
        assert client.get("/functions/v1/broken").status_code == 500
    until(lambda: any(s.name == "function broken" and s.is_error for s in list(observatory.collector.spans)))


@pytest.mark.req("P17")
def test_reads_of_the_cache_are_counted_where_functions_make_them(observatory: Observatory) -> None:
    with observatory.server.client(observatory.server.secret_key) as client:
        for _ in range(2):
            assert client.get("/functions/v1/remember").text == "42"

    def reads() -> list[float]:
        found = figures(httpx2.get(f"{observatory.server.url}/metrics").text)
        return [
            found.get(
                ("basalt_cache_reads_total", frozenset({("result", result), ("process", "gateway")})), 0
            )
            for result in ("hit", "miss")
        ]

    until(lambda: reads() == [1, 3])


def figures(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.req("P17")
def test_one_scrape_tells_of_every_process_and_of_the_database(observatory: Observatory) -> None:
    with observatory.server.client() as client:
        client.get("/rest/v1/nothing")
        client.get("/functions/v1/broken")
    with psycopg.connect(observatory.server.database_url, autocommit=True) as connection:
        connection.execute(
            "select basalt.enqueue('ship', '{}', queue => 'later', delay => interval '1 hour')"
        )
    text = httpx2.get(f"{observatory.server.url}/metrics").text
    time_limit = time.monotonic() + 10
    while 'queue="later"' not in text:  # figures of the database are kept for some seconds
        assert time.monotonic() < time_limit
        text = httpx2.get(f"{observatory.server.url}/metrics").text
    found = figures(text)

    def value(name: str, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    processes = {dict(labels)["process"] for name, labels in found if name == "basalt_build_info"}
    assert processes == {"gateway", "supervisor", "worker"}
    gateway, worker = {"process": "gateway"}, {"process": "worker"}
    missing = {"service": "rest", "route": "/{table}", "method": "GET", "status": "4xx"}
    assert value("basalt_http_requests_total", **missing, **gateway) >= 1
    assert value("basalt_rest_errors_total", code="PGRST205", **gateway) >= 1
    assert value("basalt_function_calls_total", function="broken", outcome="5xx", **gateway) >= 1
    assert value("basalt_function_starts_total", function="ship", **worker) >= 1
    assert value("basalt_jobs_total", queue="default", outcome="finished", **worker) >= 1
    assert value("basalt_outgoing_requests_total", kind="request", outcome="2xx", **worker) >= 1
    assert value("basalt_lanes", lanes="rest", **gateway) >= 1
    assert value("basalt_log_events_sent_total", sink="axiom", **gateway) >= 1
    assert value("basalt_queue_jobs", queue="later", state="scheduled") == 1
    assert value("basalt_postgres_up") == 1
    assert value("basalt_postgres_wal_bytes") > 0
    assert value("basalt_process_resident_bytes", **worker) > 10_000_000


@pytest.mark.req("P17")
@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1"},
        {"x-real-ip": "127.0.0.1"},
        {"origin": "https://evil.example"},
        {"host": "evil.example"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_without_a_token_only_this_machine_sees_metrics_and_parts(
    observatory: Observatory, headers: dict[str, str]
) -> None:
    keyed = {**headers, "apikey": observatory.server.secret_key}
    answer = httpx2.get(f"{observatory.server.url}/metrics", headers=keyed)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "metrics_forbidden")
    ready = httpx2.get(f"{observatory.server.url}/ready", headers=keyed)
    assert ready.json() == {"status": "ready"}


@pytest.mark.req("P17")
def test_readiness_tells_operators_its_parts(observatory: Observatory) -> None:
    parts = httpx2.get(f"{observatory.server.url}/ready").json()["parts"]
    assert parts["database"]["status"] == "ok"
    assert parts["processes"] == ["gateway", "supervisor", "worker"]
    assert parts["realtime"]["sockets"] == 0


@pytest.mark.req("P17")
def test_the_access_log_says_who_asked_for_what(observatory: Observatory) -> None:
    with observatory.server.client(observatory.server.secret_key) as client:
        client.get("/rest/v1/orders?select=id&apikey=not-for-the-log", headers={"x-request-id": "logged-1"})

    def lines() -> list[dict[str, object]]:
        return [line for line in observatory.log() if line.get("request_id") == "logged-1"]

    until(lambda: bool(lines()))
    [line] = lines()
    assert (line["service"], line["route"], line["role"]) == ("rest", "/{table}", "service_role")
    assert line["status"] == 200
    assert isinstance(line["ms"], float)
    assert "not-for-the-log" not in observatory.server.log.read_text("utf-8")


@pytest.mark.req("P17")
def test_no_secret_is_in_the_log_or_the_metrics(observatory: Observatory) -> None:
    text = observatory.server.log.read_text("utf-8") + httpx2.get(f"{observatory.server.url}/metrics").text
    for secret in (TOKEN, TWILIO_TOKEN, "k-1", observatory.server.secret_key, observatory.server.jwt_secret):
        assert secret not in text


@pytest.mark.req("P17")
def test_slow_statements_are_seen_without_their_values(observatory: Observatory) -> None:
    with psycopg.connect(observatory.server.database_url, autocommit=True) as connection:
        notices: list[str] = []
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        assert connection.execute("select * from basalt.slow_queries").fetchall() == []
        assert "create extension pg_stat_statements" in notices[0]
        connection.execute("create extension pg_stat_statements with schema extensions")
        connection.execute("select count(*), 'a secret' from public.orders")
        connection.execute("create role somebody password 'a secret'")
        rows = connection.execute("select query, calls, mean_ms from basalt.slow_queries").fetchall()
    assert any("public.orders" in query and calls >= 1 and mean >= 0 for query, calls, mean in rows)
    assert "a secret" not in str(rows)
    with observatory.server.client() as client:
        assert client.get("/rest/v1/slow_queries", headers={"accept-profile": "basalt"}).status_code == 406


@pytest.mark.req("P17")
def test_a_worker_that_was_killed_is_counted_and_comes_back(observatory: Observatory) -> None:
    listed = subprocess.run(
        ["ps", "-axwwo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    own = str(observatory.server.process.pid)
    [pid] = [
        line.split()[0] for line in listed.splitlines() if "basalt.worker" in line and line.split()[1] == own
    ]

    def restarts() -> float | None:
        found = figures(httpx2.get(f"{observatory.server.url}/metrics").text)
        labels = frozenset({("name", "worker"), ("process", "supervisor")})
        return found.get(("basalt_process_restarts_total", labels))

    known_restarts = restarts()
    subprocess.run(["kill", "-9", pid], check=True)

    assert known_restarts == 0  # there before the first one, so that an increase has something to begin from
    until(lambda: restarts() == 1)
    until(lambda: "worker" in httpx2.get(f"{observatory.server.url}/ready").json()["parts"]["processes"])
