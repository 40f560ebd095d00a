"""How fast one event reaches everybody: `python -m bench.fanout [--devices 100000] [--record]`.

A project of `basalt start` with as many users, one call of `issue_notification`, and a provider beside it that takes
everything (`bench/providers.py`): messages a second from the first to the last, when both came, and the worker's memory
meanwhile. Beside it the provider's own ceiling, asked by h2load (`nghttp2-client`) or else by our bare HTTP/2 client,
and our sender by itself. Then fewer mails and text messages the same way.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import uvloop
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from basalt.config import FcmSettings
from basalt.http import OutgoingClient
from basalt.postgres import load_access
from basalt.senders import Delivery
from basalt.senders.fcm import FcmSender, render_message
from basalt.senders.http2_client import Http2Client
from basalt.senders.http2_protocol import Http2Request
from bench.outcomes import record_table
from bench.server import Server, find_process, resident_bytes, serving_bench_project

GOAL = 10_000
GOAL_SHARE = 0.8
BATCH = 500
BATCHES = 4
SAMPLE_EVERY_S = 0.5
LIMIT_S = 600
TOKEN = "{:0>152}"  # as long as FCM's
USERS = """
insert into auth.users (id, aud, role, email, email_confirmed_at, phone, phone_confirmed_at)
select gen_random_uuid(), 'authenticated', 'authenticated', n || '@bench.example', now(),
    '4912' || lpad(n::text, 8, '0'), now()
from generate_series(1, %s) as n
"""
DEVICES = """
insert into public.notification_channels (user_id, channel, provider, address)
select u.id, 'push', 'fcm', lpad(split_part(u.email, '@', 1), 152, '0') from auth.users as u
"""
TEMPLATES = """
insert into public.notification_templates (event_type, channel, locale, subject_template, body_template)
select 'bench.' || c.channel, c.channel, 'en', 'A new gig: {{ title }}', 'It is {{ distance }} km from you, and open.'
from unnest(array['push', 'email', 'sms']) as c(channel)
"""
ISSUE = """
select public.issue_notification(
    'bench.' || %(channel)s::text, audience => '{"everyone": true}', context => '{"title": "Waiter", "distance": 3}',
    channels => array[%(channel)s::text])
"""
WARM_UP = """
select public.issue_notification(
    'bench.' || %(channel)s::text, audience => jsonb_build_object('user_ids', jsonb_build_array(
        (select u.id from auth.users as u limit 1))), context => '{"title": "Waiter", "distance": 3}',
    channels => array[%(channel)s::text])
"""
QUEUED = """
select count(*) filter (where q.status = 'sent'), count(*)
from public.notification_queue as q where q.event_id = %s
"""


@dataclass
class FanOut:
    """Seconds from the call; `memory_mb` is the worker's, sampled; `cpu_us` is what each of them worked for a message,
    which tells more than the rate where others use the machine."""

    messages: int
    addresses: int
    first_s: float
    last_s: float
    settled_s: float
    memory_mb: list[float]
    cpu_us: Mapping[str, float]

    @property
    def rate(self) -> float:
        return self.messages / self.last_s


class Providers:
    """The process that takes the messages."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.providers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self.url = f"http://127.0.0.1:{self._read().strip()}"

    def report(self, *, forget: bool = False) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write("reset\n" if forget else "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._read())
        return found

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fanout", description=__doc__)
    parser.add_argument("--devices", type=int, default=100_000, help="users with one device each (100000)")
    parser.add_argument("--mails", type=int, default=10_000, help="mails by Resend, 0 for none (10000)")
    parser.add_argument("--texts", type=int, default=5_000, help="text messages by Twilio, 0 for none (5000)")
    parser.add_argument("--record", action="store_true", help="append the table to bench/RESULTS.md")
    arguments = parser.parse_args()
    tell(f"the machine's load is {os.getloadavg()[0]:.1f} (near 0 when it is ours alone)")
    providers = Providers()
    try:
        rows = [*measure(providers, arguments.devices, arguments.mails, arguments.texts)]
    finally:
        providers.close()
    table = "\n".join(
        [
            "| what | messages/s | first s | last s | written down s | CPU µs a message: worker, PostgreSQL, provider "
            "| worker's memory MB | goal |",
            "| --- | --: | --: | --: | --: | --: | --: | --- |",
            *rows,
        ]
    )
    print(table)
    if arguments.record:
        record_table(f"Fan-out to {arguments.devices:,} devices", table)


def measure(providers: Providers, devices: int, mails: int, texts: int) -> Iterator[str]:
    tell("the provider's own ceiling")
    account = make_service_account(providers.url)
    name, ceiling = measure_ceiling(providers.url, devices)
    yield f"| the provider's ceiling, asked by {name} | {ceiling:,.0f} | | | | | | |"
    tell("the sender by itself")
    alone = uvloop.run(measure_sender(account, providers.url, devices))
    yield f"| our sender by itself | {alone:,.0f} | | | | | | |"
    for channel, count in (("push", devices), ("email", mails), ("sms", texts)):
        if count:
            tell(f"{count} by {channel}")
            providers.report(forget=True)
            with serving_bench_project(variables=make_variables(account, providers.url)) as server:
                found = measure_fan_out(server, providers, channel, count)
            yield render_row(channel, found, ceiling if channel == "push" else None)


def render_row(channel: str, found: FanOut, ceiling: float | None) -> str:
    memory = f"{found.memory_mb[0]:.0f} to {max(found.memory_mb):.0f}"
    goal = ""
    if ceiling is not None:
        wanted = min(GOAL, GOAL_SHARE * ceiling)
        goal = f"≥ {wanted:,.0f} {'met' if found.rate >= wanted else 'MISSED'}"
    repeated = found.messages - found.addresses
    label = f"{found.messages:,} by {channel}, end to end{f', {repeated} twice' if repeated else ''}"
    return (
        f"| {label} | {found.rate:,.0f} | {found.first_s:.2f} | {found.last_s:.1f} | {found.settled_s:.1f} "
        f"| {', '.join(f'{cpu_us:.0f}' for cpu_us in found.cpu_us.values())} | {memory} "
        f"| {goal} |"
    )


def measure_ceiling(url: str, messages: int) -> tuple[str, float]:
    body = render_message(make_delivery(0))
    h2load = shutil.which("h2load")
    if h2load is None:
        return "our bare client", uvloop.run(measure_bare_client(url, body, messages))
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        command = [h2load, "-n", str(messages), "-c", "4", "-m", "100", "-d", file.name]
        done = subprocess.run(
            [*command, f"{url}/v1/projects/bench/messages:send"], capture_output=True, text=True, check=True
        )
    line = next(line for line in done.stdout.splitlines() if line.startswith("finished in"))
    return "h2load", float(line.split(",")[1].split()[0])


async def measure_bare_client(url: str, body: bytes, messages: int) -> float:
    client = Http2Client(url, connections=4, streams=100, timeout_s=30)
    pseudo = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"127.0.0.1"),
        (b":path", b"/v1/projects/bench/messages:send"),
    )
    request = Http2Request(pseudo, ((b"authorization", b"Bearer bench"),), body)
    started = time.perf_counter()
    for _ in range(messages // BATCH):
        await asyncio.gather(*(client.send(request) for _ in range(BATCH)))
    took_s = time.perf_counter() - started
    await client.close()
    return messages / took_s


async def measure_sender(account: str, url: str, messages: int) -> float:
    """As the dispatcher uses it: a few batches at a time."""
    sender = FcmSender(FcmSettings(service_account=account, api_url=url), OutgoingClient())
    await sender.deliver([make_delivery(0)])
    batches = iter(range(messages // BATCH))

    async def work() -> None:
        for batch in batches:
            deliveries = [make_delivery(batch * BATCH + number) for number in range(BATCH)]
            outcomes = await sender.deliver(deliveries)
            assert all(outcome.verdict == "accepted" for outcome in outcomes)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(BATCHES)))
    took_s = time.perf_counter() - started
    await sender.close()
    return messages / took_s


def measure_fan_out(server: Server, providers: Providers, channel: str, count: int) -> FanOut:
    access = load_access(server.project_dir / ".basalt")
    with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute("delete from auth.users")
        connection.execute(USERS, [count])
        connection.execute(DEVICES)
        connection.execute(TEMPLATES)
        connection.execute("analyze")
        issue(connection, WARM_UP, channel)
        wait_for_messages(providers, 1)
        providers.report(forget=True)
        worker = find_process(server.supervisor_pid, "basalt.worker")
        pids = worker, find_postmaster(server.project_dir), providers.pid
        before = read_cpu_s(*pids)
        with sampling_memory(worker) as memory_mb:
            called_at = time.time()
            event_id = issue(connection, ISSUE, channel)
            wait_for_messages(providers, count)
            wait_settled(connection, event_id, count)
            settled_s = time.time() - called_at
            seen = providers.report()
            after = read_cpu_s(*pids)
    return FanOut(
        messages=seen["messages"],
        addresses=seen["addresses"],
        first_s=seen["first_at"] - called_at,
        last_s=seen["last_at"] - called_at,
        settled_s=settled_s,
        memory_mb=memory_mb,
        cpu_us={who: (after[who] - before[who]) * 1e6 / count for who in after},
    )


def issue(connection: psycopg.Connection, statement: Any, channel: str) -> str:
    row = connection.execute(statement, {"channel": channel}).fetchone()
    assert row is not None
    return str(row[0])


def wait_for_messages(providers: Providers, count: int) -> None:
    until = time.monotonic() + LIMIT_S
    while (seen := providers.report()["addresses"]) < count:
        if time.monotonic() > until:
            raise RuntimeError(f"{seen} of {count} messages have come")
        time.sleep(0.1)


def wait_settled(connection: psycopg.Connection, event_id: str, count: int) -> None:
    until = time.monotonic() + LIMIT_S
    while (found := connection.execute(QUEUED, [event_id]).fetchone()) != (count, count):
        if time.monotonic() > until:
            raise RuntimeError(f"sent and queued: {found}")
        time.sleep(0.2)


def find_postmaster(project_dir: Path) -> int:
    [path] = project_dir.glob(".basalt/postgres/data/postmaster.pid")
    return int(path.read_text().split()[0])


def read_cpu_s(worker: int, postmaster: int, provider: int) -> Mapping[str, float]:
    """What each of them has worked so far; nothing where the system has no /proc."""
    found = {"worker": 0.0, "postgresql": 0.0, "provider": 0.0}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        who = {worker: "worker", provider: "provider"}.get(int(path.parent.name))
        if int(fields[1]) == postmaster:
            who = "postgresql"
        if who is not None:
            found[who] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


@contextmanager
def sampling_memory(pid: int) -> Iterator[list[float]]:
    """Of a process, while the block runs."""
    found = [resident_bytes(pid) / 2**20]
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_EVERY_S):
            found.append(resident_bytes(pid) / 2**20)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def make_delivery(number: int) -> Delivery:
    return Delivery(
        key=f"5e0a2a3e-0d6f-4a55-9c0e-9ad4a7f3b2c1.{number}",
        address=TOKEN.format(number),
        subject="A new gig: Waiter",
        body="It is 3 km from you, and open.",
    )


def make_service_account(url: str) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(
        {
            "project_id": "bench",
            "client_email": "push@bench.example",
            "private_key": pem.decode(),
            "token_uri": f"{url}/token",
        }
    )


def make_variables(account: str, url: str) -> Mapping[str, str]:
    """The settings, as variables of the environment."""
    providers = "SUPABASE_NOTIFY_PROVIDERS"
    return {
        "BASALT_WORKER_MODE": "process",
        "SUPABASE_NOTIFY_ENABLED": "true",
        "SUPABASE_NOTIFY_ENVIRONMENT": "production",
        f"{providers}_FCM_SERVICE_ACCOUNT": account,
        f"{providers}_FCM_API_URL": url,
        f"{providers}_RESEND_API_KEY": "re_bench",
        f"{providers}_RESEND_FROM": "news@bench.example",
        f"{providers}_RESEND_API_URL": url,
        f"{providers}_RESEND_RATE_PER": "0",
        f"{providers}_TWILIO_ACCOUNT_SID": "AC1",
        f"{providers}_TWILIO_AUTH_TOKEN": "bench",
        f"{providers}_TWILIO_FROM": "+4912",
        f"{providers}_TWILIO_API_URL": url,
    }


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
