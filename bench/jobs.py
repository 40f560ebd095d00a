"""How fast jobs are: `python -m bench.jobs [--jobs 30000] [--record]`.

Full lives (enqueued in batches → claimed → an empty handler → acknowledged), the wait from enqueueing to the start at
a low rate beside two durable commits, and enqueueing alone; then all of it again while a session holds an old
snapshot and hundreds of thousands of finished jobs cannot be cleaned up. Beside it on the same PostgreSQL, with the
same durable commits, Procrastinate (`pip install procrastinate`) and pg-boss (installed by npm into a temporary
folder); who is missing is left out.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from basalt.jobs import JobQueue, NewJob
from basalt.postgres import DatabaseAccess, PrivateCluster, apply_bootstrap, find_postgres, open_pool
from bench.lite import PeerMissingError, find_node
from bench.outcomes import record_table
from bench.server import free_port

BATCH = 500
TRICKLE = 150
TRICKLE_EVERY_S = 0.05
STOP_LIMIT_S = 30
DRAIN_LIMIT_S = 300
SINGLE_CONNECTIONS = 32
SINGLE_S = 5
PGBOSS = "pg-boss@12"


@dataclass(frozen=True)
class Measured:
    enqueued: float
    lives: float
    waits_ms: Sequence[float]

    @property
    def wait(self) -> str:
        return render_waits(self.waits_ms)


@dataclass(frozen=True)
class Peer:
    """`work` starts a worker, which prints `ready`, and at SIGTERM the waits; `rest` counts unfinished jobs."""

    url: str
    work: Sequence[str]
    batch: Callable[[int], None]
    trickle: Callable[[], None]
    rest: LiteralString


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.jobs", description=__doc__)
    parser.add_argument("--jobs", type=int, default=30_000, help="full lives of Basalt's (30000)")
    parser.add_argument("--held", type=int, default=250_000, help="jobs while a snapshot is held (250000)")
    parser.add_argument("--record", action="store_true", help="append the table to bench/RESULTS.md")
    arguments = parser.parse_args()
    tell(f"the machine's load is {os.getloadavg()[0]:.1f} (near 0 when it is ours alone)")
    with serving_postgres() as access:
        rows = list(measure_all(access, arguments.jobs, arguments.held))
    table = "\n".join(
        [
            "| who | enqueued in batches/s | full lives/s | start p50 / p99 ms | × Procrastinate |",
            "| --- | --: | --: | --: | --: |",
            *rows,
        ]
    )
    print(table)
    if arguments.record:
        record_table(f"Jobs, {arguments.jobs} of Basalt's", table)


def measure_all(access: DatabaseAccess, jobs: int, held: int) -> Iterator[str]:
    yield f"| two durable commits of a row, one after the other | | | {measure_two_commits(access)} | |"
    tell("Basalt")
    basalt = basalt_peer(access)
    ours = measure(basalt, jobs)
    tell("Procrastinate")
    try:
        theirs = measure(procrastinate_peer(access), max(BATCH, jobs // 15))
    except PeerMissingError as missing:
        tell(f"left out: {missing}")
        theirs = None
    yield render("Basalt", ours, theirs)
    if theirs is not None:
        yield render("Procrastinate", theirs, theirs)
    tell("pg-boss")
    try:
        with pgboss_peer(access) as peer:
            yield render("pg-boss", measure(peer, max(BATCH, jobs // 3)), theirs)
    except PeerMissingError as missing:
        tell(f"left out: {missing}")
    tell("Basalt, one durable enqueue per transaction")
    singles = measure_singles(basalt, access)
    yield f"| Basalt, {SINGLE_CONNECTIONS} clients enqueue one each | {singles} | | | |"
    tell(f"Basalt with a snapshot held over {held} jobs")
    with held_snapshot(access):
        measure(basalt, held, is_quick=True)
        yield render(f"Basalt, a snapshot held over {held:,} jobs", measure(basalt, jobs), theirs)


def render_waits(waits_ms: Sequence[float]) -> str:
    ordered = sorted(waits_ms)
    return f"{statistics.median(ordered):.1f} / {ordered[int(len(ordered) * 0.99)]:.1f}"


def measure_two_commits(access: DatabaseAccess) -> str:
    """The floor of the wait for a start: the enqueue and the claim are on disk before the handler begins."""
    waits_ms = []
    with psycopg.connect(access.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("create table public.commits (id int)")
        for _ in range(TRICKLE):
            started = time.perf_counter()
            for _ in range(2):
                connection.execute("insert into public.commits values (1)")
            waits_ms.append((time.perf_counter() - started) * 1000)
            time.sleep(TRICKLE_EVERY_S)
    return render_waits(waits_ms)


def render(who: str, measured: Measured, reference: Measured | None) -> str:
    ratio = f"{measured.lives / reference.lives:.1f}" if reference else "–"
    return f"| {who} | {measured.enqueued:,.0f} | {measured.lives:,.0f} | {measured.wait} | {ratio} |"


def measure(peer: Peer, jobs: int, *, is_quick: bool = False) -> Measured:
    jobs = jobs // BATCH * BATCH
    started = time.monotonic()
    peer.batch(min(jobs, 20_000))
    enqueued = min(jobs, 20_000) / (time.monotonic() - started)
    with working(peer) as finish:
        wait_drained(peer)
        started = time.monotonic()
        peer.batch(jobs)
        wait_drained(peer)
        lives = jobs / (time.monotonic() - started)
        if not is_quick:
            time.sleep(1)
            peer.trickle()
            wait_drained(peer)
        waits_ms = finish()
    return Measured(enqueued, lives, waits_ms or [0.0])


@contextmanager
def working(peer: Peer) -> Iterator[Callable[[], list[float]]]:
    """A worker; what is yielded stops it and returns its waits."""
    process = subprocess.Popen(
        peer.work,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # `node` may be a script that starts the program
    )

    def finish() -> list[float]:
        os.killpg(process.pid, signal.SIGTERM)
        output, _ = process.communicate(timeout=STOP_LIMIT_S)
        waits: list[float] = json.loads(output.strip().splitlines()[-1])
        return waits

    try:
        assert process.stdout is not None
        if "ready" not in process.stdout.readline():
            raise PeerMissingError("its worker does not start")
        yield finish
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_drained(peer: Peer) -> None:
    deadline = time.monotonic() + DRAIN_LIMIT_S
    with psycopg.connect(peer.url, autocommit=True) as connection:
        while True:
            asked = time.monotonic()
            if connection.execute(peer.rest).fetchone() == (0,):
                return
            if asked > deadline:
                raise RuntimeError("the jobs do not come to an end")
            time.sleep(max(0.02, 10 * (time.monotonic() - asked)))  # over many dead rows the question is dear


def basalt_peer(access: DatabaseAccess) -> Peer:
    async def batch(jobs: int) -> None:
        async with open_pool(access.conninfo("postgres"), max_size=2, name="bench") as pool:
            queue = JobQueue(pool)
            for _ in range(jobs // BATCH):
                await queue.enqueue([NewJob(name="bench.note") for _ in range(BATCH)])

    async def trickle() -> None:
        async with open_pool(access.conninfo("postgres"), max_size=2, name="bench") as pool:
            queue = JobQueue(pool)
            for _ in range(TRICKLE):
                await queue.enqueue([NewJob(name="bench.note", payload={"at": time.time()})])
                await asyncio.sleep(TRICKLE_EVERY_S)

    return Peer(
        url=access.url("postgres"),
        work=[sys.executable, "-m", "bench.jobs_worker", json.dumps(asdict(access))],
        batch=lambda jobs: asyncio.run(batch(jobs)),
        trickle=lambda: asyncio.run(trickle()),
        rest="select count(*) from basalt.jobs",
    )


def procrastinate_peer(access: DatabaseAccess) -> Peer:
    database = create_database(access, "procrastinate")
    command = [sys.executable, "-m", "bench.jobs_procrastinate", database.conninfo("postgres")]
    installed = subprocess.run([*command, "install"], capture_output=True, text=True, check=False)
    if installed.returncode:
        raise PeerMissingError(installed.stderr.strip().splitlines()[-1])
    return Peer(
        url=database.url("postgres"),
        work=[*command, "work"],
        batch=lambda jobs: run([*command, "batch", str(jobs)]),
        trickle=lambda: run([*command, "trickle", str(TRICKLE), str(TRICKLE_EVERY_S)]),
        rest="select count(*) from procrastinate_jobs where status in ('todo', 'doing')",
    )


@contextmanager
def pgboss_peer(access: DatabaseAccess) -> Iterator[Peer]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    node, npm = find_node(path), shutil.which("npm", path=path)
    if npm is None:
        raise PeerMissingError("there is no npm")
    database = create_database(access, "pgboss")
    with tempfile.TemporaryDirectory(prefix="basalt-bench-pgboss-") as folder:
        install = [npm, "install", "--no-audit", "--no-fund", "--silent", PGBOSS]
        done = subprocess.run(
            install, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise PeerMissingError(f"npm could not install it: {done.stderr.strip()[-300:]}")
        script = shutil.copy(Path(__file__).with_name("jobs_pgboss.mjs"), folder)
        command = [node, script, database.url("postgres")]
        run([*command, "install"])
        yield Peer(
            url=database.url("postgres"),
            work=[*command, "work"],
            batch=lambda jobs: run([*command, "batch", str(jobs)]),
            trickle=lambda: run([*command, "trickle", str(TRICKLE), str(TRICKLE_EVERY_S)]),
            rest="select count(*) from pgboss.job where state < 'completed' and name = 'bench'",
        )


def measure_singles(peer: Peer, access: DatabaseAccess) -> str:
    """Transactions a second of clients that enqueue a job each, with a worker beside them, and of clients that insert a
    row into a table."""
    with working(peer) as finish:
        enqueued = run_pgbench("select basalt.enqueue('bench.note');", access)
        wait_drained(peer)
        finish()
    inserted = run_pgbench("insert into public.commits values (1);", access)
    return f"{enqueued:,.0f} (a plain row {inserted:,.0f})"


def run_pgbench(statement: str, access: DatabaseAccess) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(statement)
        script.flush()
        program = find_postgres().bin_dir / "pgbench"
        command = [program, "-n", "-M", "prepared", "-c", str(SINGLE_CONNECTIONS), "-j", "2"]
        done = subprocess.run(
            [*command, "-T", str(SINGLE_S), "-f", script.name, access.conninfo("postgres")],
            capture_output=True,
            text=True,
            check=True,
        )
    line = next(line for line in done.stdout.splitlines() if line.startswith("tps"))
    return float(line.split()[2])


@contextmanager
def held_snapshot(access: DatabaseAccess) -> Iterator[None]:
    with psycopg.connect(access.conninfo("postgres")) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("select 1")
        yield


@contextmanager
def serving_postgres() -> Iterator[DatabaseAccess]:
    """A new private cluster with durable commits and Basalt's contract."""
    folder = Path(tempfile.mkdtemp(prefix="basalt-bench-jobs-"))
    folder.chmod(0o711)
    cluster = PrivateCluster(folder / ".basalt", port=free_port())
    try:
        access = cluster.ensure()
        apply_bootstrap(access)
        yield access
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def create_database(access: DatabaseAccess, name: str) -> DatabaseAccess:
    with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} owner postgres").format(sql.Identifier(name)))
    return access.with_dbname(name)


def run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True)


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
