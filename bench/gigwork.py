"""The gig-work app under load: `python -m bench.gigwork [--gigs 200000] [--searches 1000] [--workers 1000]`.

Search by distance through REST is set against the bare SQL, on one connection each, in turn, in the same run: the
statement of the app's specification (`st_dwithin`, ordered by `st_distance`), and search_gigs called by SQL. Then a
thousand workers clock in through the functions within a minute, and out again, with no point lost or doubled.
"""

import argparse
import asyncio
import http.client
import json
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlencode

import psycopg
from apps.gigwork.tests.crowd import Day, work_a_day

from basalt.postgres import DatabaseAccess, load_access
from bench.load import percentile
from bench.server import Server, serving_bench_project

APP = Path(__file__).parent.parent / "apps" / "gigwork"
VARIABLES = {
    "SUPABASE_DB_SEED_ENABLED": "false",
    "BASALT_RATE_LIMIT_ENABLED": "false",
    "BASALT_WORKER_MODE": "off",
}
GOAL_RATIO = 0.4
GOAL_CLOCK_IN_S = 60
PAGE = 20
BLOCK = 25  # so many of one, then so many of the other: both meet the same neighbours

FILL: LiteralString = """
insert into public.gigs (
    title, description, category, city, location, hourly_rate, start_date, end_date, capacity, status, published_at)
select
    'Gig ' || n, 'Training on the spot, meal included.',
    (array['food_beverage', 'retail', 'events', 'logistics', 'hospitality', 'cleaning'])[1 + n %% 6],
    case when n %% 3 = 0 then 'Singapore' else 'Kuala Lumpur' end,
    extensions.st_setsrid(extensions.st_makepoint(
        case when n %% 3 = 0 then 103.82 else 101.69 end + 0.25 * sqrt(away) * cos(2 * pi() * turn),
        case when n %% 3 = 0 then 1.35 else 3.14 end + 0.25 * sqrt(away) * sin(2 * pi() * turn)),
        4326)::extensions.geography,
    round((9 + 9 * pay)::numeric, 1), current_date + (n %% 30), current_date + (n %% 30), 1 + n %% 9,
    case when n %% 10 = 0 then 'closed' else 'open' end, now() - n * interval '1 second'
from (
    select n, random() as away, random() as turn, random() as pay from generate_series(1, %(gigs)s) as n
) as drawn
"""
SPECIFICATION: LiteralString = """
select g.*
from public.gigs as g
where g.status = 'open' and g.published_at is not null
    and (%(p_category)s::text is null or g.category = %(p_category)s)
    and g.hourly_rate >= %(p_min_rate)s
    and extensions.st_dwithin(
        g.location, extensions.st_makepoint(%(p_user_lng)s, %(p_user_lat)s)::extensions.geography,
        %(p_max_distance_km)s * 1000)
order by extensions.st_distance(
    g.location, extensions.st_makepoint(%(p_user_lng)s, %(p_user_lat)s)::extensions.geography)
limit %(p_limit)s
"""
ROUTINE: LiteralString = """
select * from public.search_gigs(
    p_category => %(p_category)s, p_max_distance_km => %(p_max_distance_km)s::int,
    p_user_lat => %(p_user_lat)s::numeric, p_user_lng => %(p_user_lng)s::numeric,
    p_min_rate => %(p_min_rate)s, p_limit => %(p_limit)s::int)
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gigwork", description=__doc__)
    parser.add_argument("--gigs", type=int, default=200_000)
    parser.add_argument("--searches", type=int, default=1000, help="of each kind (1000)")
    parser.add_argument("--workers", type=int, default=1000, help="who clock in; 0: none (1000)")
    arguments = parser.parse_args()
    with serving_bench_project(APP, VARIABLES) as server:
        access = load_access(server.project_dir / ".basalt")
        print(report_search(server, access, arguments.gigs, arguments.searches), flush=True)
        if arguments.workers:
            day = asyncio.run(
                work_a_day(
                    f"http://{server.host}:{server.port}", server.anon_key, server.jwt_secret,
                    access.conninfo("postgres"), workers=arguments.workers)
            )  # fmt: skip
            print(report_day(day, arguments.workers))


def report_search(server: Server, access: DatabaseAccess, gigs: int, searches: int) -> str:
    fill(access, gigs)
    chance = random.Random(20260105)
    queries = [draw_query(chance) for _ in range(searches)]
    times: dict[str, list[float]] = {"REST": [], "search_gigs by SQL": [], "the specification's SQL": []}
    connection = http.client.HTTPConnection(server.host, server.port)
    with psycopg.connect(access.conninfo("postgres"), autocommit=True, prepare_threshold=0) as owner:
        for begin in range(-2 * BLOCK, searches, BLOCK):  # the first two blocks warm up
            block = queries[max(begin, 0) : max(begin, 0) + BLOCK]
            for query in block:
                answered = timed(times["REST"], partial(search_rest, connection, server, query), begin)
                routine = timed(times["search_gigs by SQL"], partial(fetch, owner, ROUTINE, query), begin)
                bare = timed(
                    times["the specification's SQL"], partial(fetch, owner, SPECIFICATION, query), begin
                )
                if [row["id"] for row in answered] != [str(row[0]) for row in routine]:
                    raise RuntimeError(f"REST and SQL answer {query} differently")
                if len(bare) != len(answered):
                    raise RuntimeError(f"{len(answered)} gigs instead of {len(bare)} for {query}")
    lines = [
        f"Search by distance on {gigs:,} gigs, {searches:,} searches of {PAGE}, one connection each, in turn:",
        "",
        "| what | p50 | p95 | p99 | its p95 / REST's p95 |",
        "| --- | --- | --- | --- | --- |",
    ]
    rest_p95 = percentile(sorted(times["REST"]), 0.95)
    for what, took in times.items():
        p50, p95, p99 = (percentile(sorted(took), share) * 1000 for share in (0.5, 0.95, 0.99))
        ratio = "" if what == "REST" else f"{p95 / 1000 / rest_p95:.2f} (goal ≥ {GOAL_RATIO})"
        lines.append(f"| {what} | {p50:.2f} ms | {p95:.2f} ms | {p99:.2f} ms | {ratio} |")
    return "\n".join(lines)


def fetch(owner: psycopg.Connection[Any], statement: LiteralString, query: dict[str, Any]) -> list[Any]:
    return owner.execute(statement, query).fetchall()


def timed(times: list[float], work: Callable[[], Any], block: int) -> Any:
    started = time.perf_counter()
    result = work()
    if block >= 0:
        times.append(time.perf_counter() - started)
    return result


def fill(access: DatabaseAccess, gigs: int) -> None:
    with psycopg.connect(access.conninfo("postgres"), autocommit=True) as owner:
        owner.execute("select setseed(0.42)")
        owner.execute(FILL, {"gigs": gigs})
        owner.execute("vacuum analyze public.gigs")


def draw_query(chance: random.Random) -> dict[str, Any]:
    """Somebody in Kuala Lumpur or Singapore; every second one looks for a category, every third for a rate."""
    lat, lng = (1.35, 103.82) if chance.random() < 0.33 else (3.14, 101.69)
    return {
        "p_user_lat": round(lat + chance.uniform(-0.2, 0.2), 5),
        "p_user_lng": round(lng + chance.uniform(-0.2, 0.2), 5),
        "p_max_distance_km": chance.choice([2, 5, 10, 25]),
        "p_category": chance.choice([None, "retail", None, "events"]),
        "p_min_rate": chance.choice([0, 0, 14]),
        "p_limit": PAGE,
    }


def search_rest(connection: http.client.HTTPConnection, server: Server, query: dict[str, Any]) -> Any:
    target = urlencode({name: value for name, value in query.items() if value is not None})
    connection.request("GET", f"/rest/v1/rpc/search_gigs?{target}", headers={"apikey": server.anon_key})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status} {body[:300]!r}")
    return json.loads(body)


def report_day(day: Day, workers: int) -> str:
    lines = [
        f"{workers:,} workers clock in and out through the functions, every tenth twice at once:",
        "",
        "| what | all of them | p50 | p95 | statuses |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, shift in (("clock-in", day.clock_in), ("clock-out", day.clock_out)):
        p50, p95 = (percentile(sorted(shift.times_ms), share) for share in (0.5, 0.95))
        counts = ", ".join(f"{status}: {count:,}" for status, count in sorted(shift.statuses.items()))
        goal = f" (goal < {GOAL_CLOCK_IN_S} s)" if name == "clock-in" else ""
        lines.append(f"| {name} | {shift.took_s:.1f} s{goal} | {p50:.0f} ms | {p95:.0f} ms | {counts} |")
    return "\n".join([*lines, "", f"Balances that are wrong: {day.wrong_balances} (goal 0)."])


if __name__ == "__main__":
    main()
