"""How fast REST is: `python -m bench.rest [--record] [--seconds 5] [--only NAME] [--without-lite]`.

For each kind of request the gateway's rate is set against pgbench, which sends the same statements prepared
and pipelined, and against @supabase/lite where Node is available, all on the same PostgreSQL in the same run.
Absolute figures belong to the machine; the ratios are the point. `--record` appends the table to
bench/RESULTS.md.
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from basalt.config import load_settings
from basalt.gateway.services import build_gateway
from basalt.postgres import DatabaseAccess, Query, find_postgres, load_access
from bench.lite import PeerMissingError, serving_lite
from bench.load import Load, Measured, run_load
from bench.pgbench import Reference, run_pgbench
from bench.record import record_queries, running
from bench.server import Server, serving_bench_project

RESULTS = Path(__file__).with_name("RESULTS.md")
OWNERS = 5000
USER = "00000000-0000-4000-8000-000000000007"
COLUMNS = "id,title,body,priority,created_at"
OWN_NOTES = [owner_row * 5000 + 7 for owner_row in range(20)]  # the ids of USER's notes
FRESH_TOKENS = 60_000  # more than are spent in a run, and far more than any cache of verified tokens holds


@dataclass(frozen=True)
class Scenario:
    """One kind of request; `{id}` in the target is each of the user's notes in turn. `goal` is the share of
    pgbench's rate, `lite_goal` the multiple of lite's."""

    name: str
    target: str
    method: str = "GET"
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    goal: float | None = None
    lite_goal: float | None = None
    fresh_tokens: bool = False


SCENARIOS = (
    Scenario(
        "read 20 rows", f"/rest/v1/notes?select={COLUMNS}&order=id.desc&limit=20", goal=0.2, lite_goal=12
    ),
    Scenario(
        "read 20 rows, every token new",
        f"/rest/v1/notes?select={COLUMNS}&order=id.desc&limit=20",
        fresh_tokens=True,
    ),
    Scenario(
        "single row",
        "/rest/v1/notes?select=*&id=eq.{id}",
        headers={"Accept": "application/vnd.pgrst.object+json"},
    ),
    Scenario(
        "insert one row",
        "/rest/v1/entries",
        method="POST",
        body='{"title":"An entry","amount":12.50}',
        headers={"Content-Type": "application/json", "Prefer": "return=minimal"},
    ),
    Scenario(
        "call a routine",
        "/rest/v1/rpc/summarise_notes",
        method="POST",
        body='{"least_priority":3}',
        headers={"Content-Type": "application/json"},
    ),
    Scenario(
        "embed",
        "/rest/v1/notes?select=id,title,comments(id,body)&order=id.desc&limit=20",
    ),
)


@dataclass(frozen=True)
class Outcome:
    scenario: Scenario
    basalt: Measured
    pgbench: Reference
    lite: Measured | None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.rest", description=__doc__)
    parser.add_argument("--record", action="store_true", help="append the table to bench/RESULTS.md")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each measurement")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--only", help="scenarios whose name contains this")
    parser.add_argument("--without-lite", action="store_true")
    arguments = parser.parse_args()
    scenarios = [scenario for scenario in SCENARIOS if (arguments.only or "") in scenario.name]
    outcomes = measure_all(
        scenarios,
        seconds=arguments.seconds,
        connections=arguments.connections,
        with_lite=not arguments.without_lite,
    )
    table = render_table(outcomes)
    print(table)
    if arguments.record:
        record_results(table, arguments.connections, arguments.seconds)


def measure_all(
    scenarios: list[Scenario], *, seconds: float, connections: int, with_lite: bool
) -> list[Outcome]:
    with serving_bench_project() as server:
        access = load_access(server.project_dir / ".basalt")
        pgbench = find_postgres().bin_dir / "pgbench"
        statements = asyncio.run(record_all(server, access, scenarios))
        basalt, reference = {}, {}
        for scenario in scenarios:
            load = build_load(scenario, server, server.port, seconds, connections)
            basalt[scenario.name] = run_load(load)
            reference[scenario.name] = run_pgbench(
                pgbench, access.conninfo("authenticator"), statements[scenario.name], seconds=seconds
            )
        lite = measure_lite(scenarios, server, access, seconds, connections) if with_lite else {}
    return [
        Outcome(scenario, basalt[scenario.name], reference[scenario.name], lite.get(scenario.name))
        for scenario in scenarios
    ]


def measure_lite(
    scenarios: list[Scenario], server: Server, access: DatabaseAccess, seconds: float, connections: int
) -> dict[str, Measured]:
    try:
        with serving_lite(access.url("supabase_admin"), server.jwt_secret) as port:
            loads = {
                scenario.name: build_load(scenario, server, port, seconds, connections)
                for scenario in scenarios
            }
            for load in loads.values():  # its first requests fail when there are several at once
                run_load(replace(load, connections=1, warm_up_s=0, seconds=0.5))
            return {name: run_load(load) for name, load in loads.items()}
    except PeerMissingError as exc:
        print(f"@supabase/lite was not measured: {exc}")
        return {}


async def record_all(
    server: Server, access: DatabaseAccess, scenarios: list[Scenario]
) -> dict[str, list[Query]]:
    gateway = build_gateway(load_settings(server.project_dir, os.environ), access)
    async with running(gateway):
        return {
            scenario.name: await record_queries(
                gateway,
                scenario.method,
                list_targets(scenario)[0],
                request_headers(scenario, server, sign_token(server.jwt_secret, USER, 0)),
                scenario.body.encode(),
            )
            for scenario in scenarios
        }


def build_load(scenario: Scenario, server: Server, port: int, seconds: float, connections: int) -> Load:
    if scenario.fresh_tokens:
        owners = [f"00000000-0000-4000-8000-{number % OWNERS:012}" for number in range(FRESH_TOKENS)]
        tokens = [sign_token(server.jwt_secret, owner, number) for number, owner in enumerate(owners)]
    else:
        tokens = [sign_token(server.jwt_secret, USER, 0)]
    return Load(
        host=server.host,
        port=port,
        requests=[
            render_request(scenario, target, request_headers(scenario, server, token))
            for token in tokens
            for target in list_targets(scenario)
        ],
        connections=connections,
        seconds=seconds,
    )


def request_headers(scenario: Scenario, server: Server, token: str) -> dict[str, str]:
    return {
        "Host": f"{server.host}:{server.port}",
        "apikey": server.anon_key,
        "Authorization": f"Bearer {token}",
        "Accept": "application/json",
        "X-Client-Info": "supabase-js-web/2.0.0",
        **scenario.headers,
    }


def list_targets(scenario: Scenario) -> list[str]:
    if "{id}" not in scenario.target:
        return [scenario.target]
    return [scenario.target.replace("{id}", str(number)) for number in OWN_NOTES]


def render_request(scenario: Scenario, target: str, headers: Mapping[str, str]) -> str:
    length = {"Content-Length": str(len(scenario.body))} if scenario.body else {}
    lines = [f"{name}: {value}" for name, value in {**headers, **length}.items()]
    return "\r\n".join([f"{scenario.method} {target} HTTP/1.1", *lines, "", scenario.body])


def sign_token(secret: str, user_id: str, serial: int) -> str:
    """HS256 by hand: signing is not what is measured."""
    claims = {
        "aud": "authenticated",
        "exp": int(time.time()) + 3600,
        "role": "authenticated",
        "sub": user_id,
        "session_id": f"00000000-0000-4000-9000-{serial:012}",
    }
    parts = [_encode({"alg": "HS256", "typ": "JWT"}), _encode(claims)]
    signature = hmac.digest(secret.encode(), ".".join(parts).encode(), hashlib.sha256)
    return ".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=").decode()])


def _encode(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def render_table(outcomes: list[Outcome]) -> str:
    lines = [
        "| request | requests/s | p50 ms | p99 ms | pgbench/s | × pgbench | lite/s | × lite | goals |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for outcome in outcomes:
        basalt, scenario = outcome.basalt, outcome.scenario
        share = basalt.rate / outcome.pgbench.rate
        cells = [
            scenario.name,
            f"{basalt.rate:,.0f}",
            f"{basalt.p50_ms:.2f}",
            f"{basalt.p99_ms:.2f}",
            f"{outcome.pgbench.rate:,.0f}",
            f"{share:.2f}",
            *render_lite(outcome),
            render_goals(outcome, share),
        ]
        lines.append(f"| {' | '.join(cells)} |")
        for who, measured in (("Basalt", basalt), ("lite", outcome.lite)):
            if measured is not None and not measured.is_clean:
                lines.append(f"\n{who} failed: {measured.statuses} {measured.failures[:1]}\n")
    return "\n".join(lines)


def render_lite(outcome: Outcome) -> tuple[str, str]:
    if outcome.lite is None or not outcome.lite.is_clean:
        return "–", "–"
    return f"{outcome.lite.rate:,.0f}", f"{outcome.basalt.rate / outcome.lite.rate:.1f}"


def render_goals(outcome: Outcome, share: float) -> str:
    scenario = outcome.scenario
    verdicts = []
    if scenario.goal is not None:
        verdicts.append(f"≥ {scenario.goal} × pgbench {'met' if share >= scenario.goal else 'MISSED'}")
    if scenario.lite_goal is not None and outcome.lite is not None and outcome.lite.is_clean:
        met = outcome.basalt.rate >= scenario.lite_goal * outcome.lite.rate
        verdicts.append(f"≥ {scenario.lite_goal:.0f} × lite {'met' if met else 'MISSED'}")
    return ", ".join(verdicts)


def record_results(table: str, connections: int, seconds: float) -> None:
    when = datetime.now(UTC).date().isoformat()
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
    heading = f"## {when}: REST, {connections} connections, {seconds:g} s each ({machine})"
    with RESULTS.open("a") as file:
        file.write(f"\n{heading}\n\n{table}\n")


if __name__ == "__main__":
    main()
