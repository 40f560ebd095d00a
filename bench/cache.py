"""How fast the cache is: `python -m bench.cache [--seconds 3]`.

Fetches and stores of a small value by 32 callers of one process, over PostgreSQL and, where it is installed, over
Redis. The reference is pgbench with the same statements, or `redis-benchmark` with as many connections. Then 200
callers in 4 processes ask for one missing value at once: how many computed it, and how long until all have it.
"""

import argparse
import asyncio
import json
import multiprocessing
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import uvloop

from basalt.config import CacheSettings
from basalt.kv import Cache, open_cache
from basalt.kv.postgres import RELAXED, PostgresEngine
from basalt.postgres import DatabaseAccess, Query, find_postgres
from bench.lanes import bench_database
from bench.pgbench import READ_CONNECTIONS, Pipeline, run_pgbench
from bench.server import free_port

CALLERS = 32
PROCESSES = 4
CALLERS_EACH = 50
ROUNDS = 20
WORK_S = 0.05
VALUE = {"url": "generations/2f1c.png", "rank": list(range(20))}
RATE = re.compile(r"([\d.]+) requests per second")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cache", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement")
    seconds = parser.parse_args().seconds
    with bench_database() as access:
        conninfo = access.conninfo("authenticator")
        rates = uvloop.run(measure(CacheSettings(), conninfo, seconds))
        report("postgres", rates, reference_of_postgres(access, seconds))
        measure_flights("postgres", CacheSettings(), conninfo)
    redis, benchmark = (
        shutil.which("valkey-server") or shutil.which("redis-server"),
        shutil.which("redis-benchmark"),
    )
    if redis is None or benchmark is None:
        print("redis: not installed")
        return
    with running_redis(redis) as port:
        settings = CacheSettings(engine="redis", url=f"redis://127.0.0.1:{port}/0")
        rates = uvloop.run(measure(settings, "", seconds))
        report("redis", rates, reference_of_redis(benchmark, port))
        measure_flights("redis", settings, "")


async def measure(settings: CacheSettings, conninfo: str, seconds: float) -> dict[str, float]:
    cache = await open_cache(settings, conninfo=conninfo, project_id="bench")
    await asyncio.gather(*(cache.store(f"key {n}", VALUE, ttl_s=3600) for n in range(1000)))
    rates = {
        "fetch": await rate(lambda n: cache.fetch(f"key {n % 1000}"), seconds),
        "store": await rate(lambda n: cache.store(f"key {n % 1000}", VALUE, ttl_s=3600), seconds),
    }
    await cache.close()
    return rates


async def rate(call: Callable[[int], Awaitable[object]], seconds: float) -> float:
    until = time.perf_counter() + seconds

    async def caller(first: int) -> int:
        number = first * 7919
        done = 0
        while time.perf_counter() < until:
            await call(number + done)
            done += 1
        return done

    return sum(await asyncio.gather(*(caller(n) for n in range(CALLERS)))) / seconds


def reference_of_postgres(access: DatabaseAccess, seconds: float) -> dict[str, float]:
    program = find_postgres().bin_dir / "pgbench"
    value = json.dumps(VALUE).encode()
    write = PostgresEngine.WRITE.replace("$1", "'key ' || (random() * 999)::int")
    write = write.replace("$2", "$1").replace("$3", "$2")
    statements = {
        "fetch": Query(PostgresEngine.READ, (b"key 7",)),
        "store": Query(write, (value, b"3600")),
    }
    rates = {}
    for name, statement in statements.items():
        pipeline = Pipeline([RELAXED, statement])
        conninfo = access.conninfo("postgres")  # pgbench prepares before it has the role
        rates[name] = run_pgbench(
            program, conninfo, pipeline, connections=READ_CONNECTIONS, seconds=seconds
        ).rate
    return rates


def reference_of_redis(program: str, port: int) -> dict[str, float]:
    size = len(json.dumps(VALUE))
    rates = {}
    for name, command in (("fetch", "get"), ("store", "set")):
        done = subprocess.run(
            [program, "-p", str(port), "-t", command, "-d", str(size), "-c", "16", "-n", "100000", "-r", "1000", "-q"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        rates[name] = float(RATE.findall(done.stdout)[-1])
    return rates


def report(engine: str, rates: dict[str, float], references: dict[str, float]) -> None:
    for name, found in rates.items():
        reference = references[name]
        print(f"{engine}: {found:,.0f} {name}/s, reference {reference:,.0f}/s, × {found / reference:.2f}")


# Single flight


def measure_flights(engine: str, settings: CacheSettings, conninfo: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    computed = spawn.Value("i", 0)
    pipes = []
    processes = []
    for _ in range(PROCESSES):
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=run_callers, args=(theirs, computed, settings, conninfo))
        process.start()
        pipes.append(ours)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()
    counts, took_s = [], []
    for number in range(ROUNDS):
        computed.value = 0
        began = time.perf_counter()
        for pipe in pipes:
            pipe.send(f"flight {number}")
        answers = {answer for pipe in pipes for answer in pipe.recv()}
        took_s.append(time.perf_counter() - began - WORK_S)
        assert len(answers) == 1
        counts.append(computed.value)
    for pipe in pipes:
        pipe.send(None)
    for process in processes:
        process.join()
    print(
        f"{engine}: {PROCESSES * CALLERS_EACH} callers in {PROCESSES} processes, {ROUNDS} times: "
        f"{min(counts)} to {max(counts)} computations each; all have the value "
        f"{statistics.median(took_s) * 1000:.0f} ms (median) to {max(took_s) * 1000:.0f} ms after it was computed"
    )


def run_callers(pipe: "Connection", computed: object, settings: CacheSettings, conninfo: str) -> None:
    uvloop.run(_run_callers(pipe, computed, settings, conninfo))


async def _run_callers(pipe: "Connection", computed: object, settings: CacheSettings, conninfo: str) -> None:
    cache: Cache = await open_cache(settings, conninfo=conninfo, project_id="bench")

    async def compute() -> float:
        with computed.get_lock():  # type: ignore[attr-defined]
            computed.value += 1  # type: ignore[attr-defined]
        await asyncio.sleep(WORK_S)
        return time.time()

    pipe.send("ready")
    while (key := await asyncio.to_thread(pipe.recv)) is not None:
        asked = (cache.fetch_or_compute(key, compute, ttl_s=60) for _ in range(CALLERS_EACH))
        pipe.send(await asyncio.gather(*asked))
    await cache.close()


@contextmanager
def running_redis(program: str) -> Iterator[int]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="basalt-bench-") as folder:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(0.5)
        try:
            yield port
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
