"""How fast REST is: `python -m bench.rest [--only NAME,NAME] [--seconds 5] [--record]`.

For each kind of request the gateway's rate is set against pgbench, which sends the same statements prepared
and pipelined, and against @supabase/lite where Node is available, all on the same PostgreSQL in the same run.
Absolute figures belong to the machine; the ratios are the point.
"""

import argparse
import asyncio
import os
import sys
from dataclasses import replace

from basalt.config import load_settings
from basalt.gateway.services import build_gateway
from basalt.postgres import DatabaseAccess, find_postgres, load_access
from bench.lite import PeerMissingError, serving_lite
from bench.load import Load, Measured, run_load, running_load
from bench.outcomes import Outcome, record_results, render_table
from bench.pgbench import READ_CONNECTIONS, Pipeline, Reference, run_pgbench
from bench.record import record_pipeline, running
from bench.requests import USER, build_load, sign_token
from bench.scenarios import SCENARIOS, Scenario, select_scenarios
from bench.server import Server, serving_bench_project

SLACK_S = 2.0  # what two processes need to start


def main() -> None:
    arguments = parse_arguments()
    outcomes = measure_all(
        arguments.only,
        seconds=arguments.seconds,
        connections=arguments.connections,
        with_lite=not arguments.without_lite,
    )
    table = render_table(outcomes)
    print(table)
    if arguments.record:
        record_results(table, arguments.connections, arguments.seconds)


def parse_arguments() -> argparse.Namespace:
    names = "\n".join(f"  {scenario.name:18}{scenario.title}" for scenario in SCENARIOS)
    parser = argparse.ArgumentParser(
        prog="python -m bench.rest",
        description=__doc__,
        epilog=f"scenarios:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="NAME[,NAME]", default=None, help="these scenarios")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each measurement (5)")
    parser.add_argument("--connections", type=int, default=32, help="of the load (32)")
    parser.add_argument("--without-lite", action="store_true", help="leave the peer out")
    parser.add_argument("--record", action="store_true", help="append the table to bench/RESULTS.md")
    arguments = parser.parse_args()
    try:
        arguments.only = select_scenarios(arguments.only)
    except ValueError as exc:
        parser.error(str(exc))
    return arguments


def measure_all(
    scenarios: list[Scenario], *, seconds: float, connections: int, with_lite: bool
) -> list[Outcome]:
    tell(
        f"starting the project; the machine's load is {os.getloadavg()[0]:.1f} (near 0 when it is ours alone)"
    )
    with serving_bench_project() as server:
        access = load_access(server.project_dir / ".basalt")
        pipelines = asyncio.run(record_all(server, access, scenarios))
        outcomes = []
        for scenario in scenarios:
            outcome = measure(scenario, server, access, pipelines[scenario.name], seconds, connections)
            outcomes.append(outcome)
            tell(f"{len(outcomes)}/{len(scenarios)} {render_progress(outcome)}")
        lite = measure_lite(scenarios, server, access, seconds, connections) if with_lite else {}
    return [replace(outcome, lite=lite.get(outcome.scenario.name)) for outcome in outcomes]


async def record_all(
    server: Server, access: DatabaseAccess, scenarios: list[Scenario]
) -> dict[str, Pipeline]:
    token = sign_token(server.jwt_secret, USER, 0)
    gateway = build_gateway(load_settings(server.project_dir, os.environ), access)
    async with running(gateway):
        return {
            scenario.name: await record_pipeline(gateway, scenario, server, token) for scenario in scenarios
        }


def measure(
    scenario: Scenario,
    server: Server,
    access: DatabaseAccess,
    pipeline: Pipeline,
    seconds: float,
    connections: int,
) -> Outcome:
    """The gateway and its references one right after the other, because the machine may be busy with other things at
    one time and not at another. A plain load is measured before and after, and the better one counts."""
    load = build_load(scenario, server, server.port, seconds, connections)
    if not scenario.plain:
        basalt = run_load(load)
        return Outcome(scenario, basalt, measure_pgbench(scenario, access, pipeline, seconds, connections))
    ordinary = replace(scenario, fresh_tokens=False, beside=None)
    plain_load = build_load(ordinary, server, server.port, seconds, connections)
    before = run_load(plain_load)
    basalt, beside = measure_beside(scenario, server, load)
    plain = max(before, run_load(plain_load), key=lambda measured: measured.rate)
    reference = measure_pgbench(scenario, access, pipeline, seconds, connections)
    return Outcome(scenario, basalt, reference, plain=plain, beside=beside)


def measure_beside(scenario: Scenario, server: Server, load: Load) -> tuple[Measured, Measured | None]:
    """The load, while a second process sends what stands beside it; and how that fared."""
    if scenario.beside is None:
        return run_load(load), None
    lasts_s = load.warm_up_s + load.seconds + SLACK_S
    neighbour = build_load(scenario.beside, server, server.port, lasts_s, load.connections)
    with running_load(replace(neighbour, warm_up_s=0)) as finish:
        return run_load(load), finish()


def measure_pgbench(
    scenario: Scenario, access: DatabaseAccess, pipeline: Pipeline, seconds: float, connections: int
) -> Reference:
    return run_pgbench(
        find_postgres().bin_dir / "pgbench",
        access.conninfo("authenticator"),
        pipeline,
        connections=(connections,) if scenario.as_many else READ_CONNECTIONS,
        seconds=seconds,
    )


def measure_lite(
    scenarios: list[Scenario], server: Server, access: DatabaseAccess, seconds: float, connections: int
) -> dict[str, Measured]:
    measured = {}
    try:
        with serving_lite(access.url("supabase_admin"), server.jwt_secret) as port:
            for scenario in scenarios:
                if scenario.suits_lite:
                    load = build_load(scenario, server, port, seconds, connections)
                    # its first requests fail when there are several at once
                    run_load(replace(load, connections=1, warm_up_s=0, seconds=0.5))
                    measured[scenario.name] = run_load(load)
                    tell(f"lite, {scenario.title}: {measured[scenario.name].rate:,.0f}/s")
    except PeerMissingError as exc:
        print(f"@supabase/lite was not measured: {exc}")
    return measured


def render_progress(outcome: Outcome) -> str:
    basalt, plain, beside = outcome.basalt, outcome.plain, outcome.beside
    line = f"{outcome.scenario.title}: {basalt.rate:,.0f}/s, pgbench {outcome.pgbench.rate:,.0f}/s"
    if plain is not None:
        line += f"; p99 {basalt.p99_ms:.1f} ms, {outcome.scenario.plain}: {plain.rate:,.0f}/s, {plain.p99_ms:.1f} ms"
    if beside is not None:
        line += f"; beside it {beside.requests} slow answers, p50 {beside.p50_ms:.0f} ms"
    return line


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
