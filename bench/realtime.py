"""How fast Realtime is: `python -m bench.realtime [--seconds 5] [--quick] [--only changes] [--record]`.

Changes of tables: the grid of Supabase's own benchmarks, 500, 1,500 and 3,000 subscribers with and without row-level
security, flat out for the rate and more slowly for the time from commit to client. Broadcasts, presence,
broadcasts from the database, and what an idle socket holds in memory. Each is set against a reference measured right
before: a bare fan-out of as many bytes through the same server library, or reading the log alone.
"""

import argparse
import json
import os
import resource
import sys
from dataclasses import dataclass
from typing import Any

from bench.outcomes import record_table
from bench.realtime_changes import OPEN, OWN, RAISING, SEND, TEAM, Policy, Writer
from bench.realtime_client import Client, running_client
from bench.realtime_fanout import serving_bare_fanout
from bench.requests import sign_token
from bench.server import Server, resident_bytes, serving_bench_project

PARTS = ("changes", "broadcast", "presence", "database", "log", "memory")
SUBSCRIBERS = (500, 1500, 3000)
MEMBERS = 1000
IDLE = (1000, 5000, 10_000)
PAYLOAD_BYTES = 200
CHANGE_BYTES = 480  # of a frame with a change of these tables
WINDOW = 20  # broadcasts on their way
STEADY = 30_000  # messages a second, for the time that they take, and 300 changes a second at most
STEADY_CHANGES = 300
WARM_UP = 100  # changes, which also show about how fast it goes
SUBSCRIBED = "Subscribed to PostgreSQL"
JOINED = "phx_reply"


@dataclass(frozen=True)
class Row:
    """One line of the table; `reference` names what the figure is set against."""

    title: str
    figure: str
    latency: str = ""
    reference: str = ""
    ratio: str = ""
    client: str = ""
    goal: str = ""


@dataclass(frozen=True)
class Bench:
    """What every measurement needs."""

    server: Server
    writer: Writer
    seconds: float

    def target(self) -> str:
        return f"/realtime/v1/websocket?apikey={self.server.anon_key}&vsn=2.0.0"

    def open(self, client: Client, joins: list[str], *steps: str) -> dict[str, Any]:
        return client.call(
            "open",
            host=self.server.host,
            port=self.server.port,
            targets=[self.target()],
            joins=joins,
            steps=steps,
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.realtime", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each measurement, about (5)")
    parser.add_argument("--quick", action="store_true", help="the smallest of each only")
    parser.add_argument("--only", choices=PARTS, action="append", help="may be repeated")
    parser.add_argument("--record", action="store_true", help="append the table to bench/RESULTS.md")
    arguments = parser.parse_args()
    allow_many_sockets()
    tell(
        f"starting the project; the machine's load is {os.getloadavg()[0]:.1f} (near 0 when it is ours alone)"
    )
    with serving_bench_project() as server:
        bench = Bench(server, Writer(server.project_dir), arguments.seconds)
        rows = measure(bench, arguments.only or PARTS, is_quick=arguments.quick)
    table = render(rows)
    print(table)
    if arguments.record:
        record_table(f"Realtime, {arguments.seconds:g} s each", table)


def measure(bench: Bench, parts: tuple[str, ...] | list[str], *, is_quick: bool) -> list[Row]:
    rows: list[Row] = []
    if "memory" in parts:  # first, while the process has not grown yet
        rows += measure_memory(bench, IDLE[:1] if is_quick else IDLE)
    if "log" in parts:
        rows.append(measure_log(bench))
    if "changes" in parts:
        for subscribers in SUBSCRIBERS[:1] if is_quick else SUBSCRIBERS:
            rows += measure_changes(bench, subscribers)
    if "broadcast" in parts:
        rows.append(measure_broadcast(bench))
    if "presence" in parts:
        rows.append(measure_presence(bench))
    if "database" in parts:
        rows += measure_database_broadcast(bench)
    return rows


# Changes


def measure_changes(bench: Bench, subscribers: int) -> list[Row]:
    """Without policies against the bare fan-out, with policies against none; a policy that raises for 50 more
    subscribers against the same without them."""
    bare = bare_fanout(bench, subscribers, CHANGE_BYTES)
    is_goal = subscribers == SUBSCRIBERS[0]
    rows, changes_rate = [], {}
    for policy in (OPEN, OWN, TEAM, RAISING) if is_goal else (OPEN, OWN, TEAM):
        tell(f"changes, {subscribers} subscribers, {policy.name}")
        flat, steady = measure_policy(bench, policy, subscribers + policy.raising)
        rate = changes_rate[policy] = flat["changes"] / flat["took_s"]
        delivered = flat["news"] / flat["took_s"]
        match policy:
            case p if p is OPEN:
                reference, ratio = f"bare fan-out {bare:,.0f}/s", delivered / bare
            case p if p is RAISING:
                reference, ratio = (
                    f"none raising {changes_rate[TEAM]:,.0f} changes/s",
                    rate / changes_rate[TEAM],
                )
            case _:
                reference, ratio = f"no RLS {changes_rate[OPEN]:,.0f} changes/s", rate / changes_rate[OPEN]
        goals = {OWN: "≥ 300 changes/s", TEAM: "≥ 30,000/s, p95 < 100 ms", RAISING: "≈ 1"} if is_goal else {}
        rows.append(
            Row(
                f"changes, {subscribers:,} subscribers, {policy.name}",
                f"{rate:,.0f} changes/s, {delivered:,.0f} delivered/s",
                f"{show_latency(steady)} at {steady['rate']:,.0f}/s",
                reference,
                f"{ratio:.2f}",
                f"{flat['client_share']:.0%}",
                goals.get(policy, ""),
            )
        )
        tell(render(rows[-1:]))
    return rows


def measure_policy(bench: Bench, policy: Policy, subscribers: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Flat out, and at the rate of the goal or half of what was reached, whichever is less."""
    joins = [
        render_join(
            "changes",
            config={
                "postgres_changes": [{"event": "INSERT", "schema": "public", "table": policy.table}],
            },
            token=sign_token(bench.server.jwt_secret, user_id(number), number),
        )
        for number in range(subscribers)
    ]
    receivers = policy.receivers(subscribers)
    with running_client() as client:
        bench.open(client, joins, JOINED, SUBSCRIBED)
        run_changes(bench, client, policy, WARM_UP, subscribers)
        rough = run_changes(bench, client, policy, WARM_UP, subscribers)
        count = max(WARM_UP, round(WARM_UP / rough["took_s"] * bench.seconds))
        flat = run_changes(bench, client, policy, count, subscribers)
        rate = min(count / flat["took_s"] / 2, STEADY / receivers, STEADY_CHANGES)
        count = max(20, round(rate * bench.seconds))
        client.call("reset", wanted=count * receivers)
        with bench.writer.writing_steadily(policy.insert, count, rate, subscribers):
            steady = client.call("await_news", limit_s=bench.seconds * 4 + 60)
        client.call("close")
    return flat, {**steady, "rate": rate}


def run_changes(bench: Bench, client: Client, policy: Policy, count: int, subscribers: int) -> dict[str, Any]:
    client.call("reset", wanted=count * policy.receivers(subscribers))
    with bench.writer.writing(policy.insert, count, subscribers):
        measured = client.call("await_news", limit_s=bench.seconds * 4 + 60)
    return {**measured, "changes": count}


def measure_log(bench: Bench) -> Row:
    tell("reading the log alone")
    count = round(4000 * bench.seconds)
    rate = bench.writer.decode_rate(OPEN.insert, count)
    return Row("reading the log alone, one change a transaction", f"{rate:,.0f} changes/s")


# Broadcasts and presence


def measure_broadcast(bench: Bench) -> Row:
    topic, event = "realtime:room", "cursor"
    payload = json.dumps({"text": "x" * (PAYLOAD_BYTES - 11)})
    head = bytes((3, 1, 1, len(topic), len(event), 0, 1)).decode("latin-1")
    message = f"{head}12{topic}{event}{payload}"
    frame_bytes = 4 + 5 + len(topic) + len(event) + len(payload)
    bare = bare_fanout(bench, MEMBERS, frame_bytes)
    tell(f"broadcasts to {MEMBERS} members")
    with running_client() as client:
        bench.open(client, [render_join("room")] * MEMBERS, JOINED)
        client.call("reset")
        flooded = client.call("flood", message=message, window=WINDOW, seconds=bench.seconds)
        client.call("close")
    rate = flooded["news"] / flooded["took_s"]
    return Row(
        f"broadcasts to a room of {MEMBERS:,}, {PAYLOAD_BYTES} bytes",
        f"{rate:,.0f} delivered/s",
        "",
        f"bare fan-out {bare:,.0f}/s",
        f"{rate / bare:.2f}",
        f"{flooded['client_share']:.0%}",
        "≥ 100,000/s",
    )


def bare_fanout(bench: Bench, members: int, frame_bytes: int) -> float:
    """Messages a second."""
    tell(f"bare fan-out to {members}")
    with serving_bare_fanout(frame_bytes) as port, running_client() as client:
        client.call("open", host="127.0.0.1", port=port, targets=["/"], joins=[""] * members, steps=[])
        client.call("reset")
        flooded = client.call("flood", message="x", window=WINDOW, seconds=max(2.0, bench.seconds / 2))
        client.call("close")
    rate: float = flooded["news"] / flooded["took_s"]
    return rate


def measure_presence(bench: Bench) -> Row:
    tell(f"presence of {MEMBERS}")
    joins = [
        render_join("lobby", config={"presence": {"enabled": True, "key": f"k{number}"}})
        for number in range(MEMBERS)
    ]
    track = (
        '["1","2","realtime:lobby","presence",{"type":"presence","event":"track","payload":{"name":"Ann"}}]'
    )
    with running_client() as client:
        bench.open(client, [""] * MEMBERS)
        met = client.call("track", joins=joins, tracks=[track] * MEMBERS)
        client.call("close")
    return Row(
        f"presence: {MEMBERS:,} join a room and track",
        f"{met['took_s']:.2f} s until all know all, {MEMBERS / met['took_s']:,.0f} joins/s",
        client=f"{met['client_share']:.0%}",
    )


def measure_database_broadcast(bench: Bench) -> list[Row]:
    """To one member, which shows what a row costs, and to many."""
    rows = []
    for members in (1, SUBSCRIBERS[0]):
        tell(f"broadcasts from the database to {members}")
        join = render_join("news", config={"broadcast": {"replication_ready": True}})
        with running_client() as client:
            bench.open(client, [join] * members, JOINED, "Replication connection established")
            run_rows(bench, client, WARM_UP, members)
            rough = run_rows(bench, client, WARM_UP, members)
            count = max(WARM_UP, round(WARM_UP / rough["took_s"] * bench.seconds))
            sent = run_rows(bench, client, count, members)
            client.call("close")
        rows.append(
            Row(
                f"broadcasts from the database to {members:,}",
                f"{count / sent['took_s']:,.0f} rows/s, {sent['news'] / sent['took_s']:,.0f} delivered/s",
                client=f"{sent['client_share']:.0%}",
            )
        )
    return rows


def run_rows(bench: Bench, client: Client, count: int, members: int) -> dict[str, Any]:
    client.call("reset", wanted=count * members)
    with bench.writer.writing(SEND, count):
        return client.call("await_news", limit_s=bench.seconds * 4 + 60)


# Memory


def measure_memory(bench: Bench, numbers: tuple[int, ...]) -> list[Row]:
    """Of the gateway, for each idle socket with one channel of its own."""
    rows = []
    with running_client() as client:
        bench.open(client, [render_join("warm")] * 20, JOINED)
        before, opened = resident_bytes(bench.server.gateway_pid), 0
        for number in numbers:
            tell(f"{number} idle sockets")
            joins = [render_join(f"idle-{each}") for each in range(opened, number)]
            took_s = bench.open(client, joins, JOINED)["took_s"]
            held = resident_bytes(bench.server.gateway_pid) - before
            rows.append(
                Row(
                    f"memory of {number:,} idle sockets with a channel",
                    f"{held / number / 1024:.1f} KB each",
                    reference=f"opened {len(joins) / took_s:,.0f}/s",
                    goal="≤ 40 KB",
                )
            )
            opened = number
        client.call("close")
    return rows


def render_join(name: str, *, config: dict[str, object] | None = None, token: str | None = None) -> str:
    payload = {"config": config or {}, **({"access_token": token} if token else {})}
    return json.dumps(["1", "1", f"realtime:{name}", "phx_join", payload], separators=(",", ":"))


def user_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def show_latency(measured: dict[str, Any]) -> str:
    return " / ".join(f"{measured[f'p{share}_ms']:.0f}" for share in (50, 95, 99)) + " ms"


def allow_many_sockets() -> None:
    """For the server too, which inherits it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def render(rows: list[Row]) -> str:
    lines = [
        "| what | Basalt | p50 / p95 / p99 from commit | reference | ratio | client's CPU | goal |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    lines += [
        f"| {row.title} | {row.figure} | {row.latency} | {row.reference} | {row.ratio} | {row.client} | {row.goal} |"
        for row in rows
    ]
    return "\n".join(lines)


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
