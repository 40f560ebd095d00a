"""How fast functions are: `python -m bench.functions [--seconds 5] [--record]`.

The rate of calls is set against a bare Starlette endpoint on uvicorn in the same run; Basalt's side includes the check
of the key and two processes. A cold start is the first call of a function; 1,000 slow calls at once must all end; a
large answer is read slowly, and the gateway must not fill up with it.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from bench.load import Load, Measured, run_load
from bench.outcomes import record_table
from bench.server import Server, free_port, resident_bytes, serving_bench_project

PROJECT = Path(__file__).parent / "functions_project"
CONNECTIONS = 32
ROUNDS = 3
COLD_STARTS = 10
SLOW_CALLS = 1000
SLOW_S = 1.0
MIB = 1024 * 1024
HEADER = ("what", "Basalt", "reference", "ratio", "goal")

Row = tuple[str, str, str, str, str]


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.functions", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--record", action="store_true", help="append the table to bench/RESULTS.md")
    arguments = parser.parse_args()
    with serving_bench_project(PROJECT) as server:
        rows = [
            *measure_cold_starts(server),
            *measure_calls(server, arguments.seconds),
            measure_slow_calls(server),
            measure_slow_reader(server),
        ]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in [HEADER, ("---",) * len(HEADER), *rows])
    print(table)
    if arguments.record:
        record_table(f"Functions, {CONNECTIONS} connections, {arguments.seconds:g} s each", table)


def measure_cold_starts(server: Server) -> list[Row]:
    """The very first call starts the process that all others are forked from."""
    folder = server.project_dir / "supabase" / "functions"
    names = [f"cold{number}" for number in range(COLD_STARTS)]
    for name in names:
        shutil.copytree(folder / "warm", folder / name)
    took_ms = []
    with httpx2.Client(base_url=f"http://{server.host}:{server.port}") as client:
        client.get("/health")
        for name in names:
            started = time.perf_counter()
            answer = client.post(f"/functions/v1/{name}", headers={"apikey": server.anon_key})
            took_ms.append((time.perf_counter() - started) * 1000)
            if answer.status_code != 200:
                raise RuntimeError(answer.text)
    first, others = took_ms[0], took_ms[1:]
    return [
        ("cold start, first function of all", f"{first:.0f} ms", "", "", ""),
        ("cold start, any other one", f"{statistics.median(others):.1f} ms", "", "", ""),
    ]


def measure_calls(server: Server, seconds: float) -> list[Row]:
    """In turns with the reference, so that a slow minute of the machine is shared."""
    with reference_port() as port:
        basalt, rows, bare = [], [], []
        for _ in range(ROUNDS):
            basalt.append(run_load(load_of(server, "warm", server.port, seconds)))
            bare.append(run_load(load_of(server, "warm", port, seconds)))
            rows.append(run_load(load_of(server, "rows", server.port, seconds)))
    rate, reference = median_rate(basalt), median_rate(bare)
    best = sorted(basalt, key=lambda one: one.rate)[ROUNDS // 2]
    ratio = rate / reference
    goal = f"≥ 0.5 {'met' if ratio >= 0.5 else 'MISSED'}"
    took = f"p50 {best.p50_ms:.2f} ms, p99 {best.p99_ms:.2f} ms"
    return [
        ("warm calls", f"{rate:,.0f}/s, {took}", f"Starlette {reference:,.0f}/s", f"{ratio:.2f}", goal),
        ("warm calls with a query under the caller's role", f"{median_rate(rows):,.0f}/s", "", "", ""),
    ]


def measure_slow_calls(server: Server) -> Row:
    load = load_of(server, "slow", server.port, 60)
    load.connections = load.count = SLOW_CALLS
    before = resident_bytes(server.gateway_pid)
    with peak_memory(server) as peak:
        started = time.perf_counter()
        measured = run_load(load)
        took_s = time.perf_counter() - started
    if not measured.is_clean:
        raise RuntimeError(f"{measured.statuses} {measured.failures}")
    memory = f"gateway {before / MIB:.0f} → {peak() / MIB:.0f} MiB"
    return (
        f"{SLOW_CALLS} calls of {SLOW_S:g} s at once",
        f"all ended in {took_s:.1f} s, {memory}",
        "",
        "",
        "all end",
    )


def measure_slow_reader(server: Server) -> Row:
    before = resident_bytes(server.gateway_pid)
    url = f"http://{server.host}:{server.port}/functions/v1/large"
    size = 0
    with (
        peak_memory(server) as peak,
        httpx2.stream("POST", url, headers={"apikey": server.anon_key}, timeout=60) as answer,
    ):
        time.sleep(2)
        for chunk in answer.iter_raw():
            size += len(chunk)
    grew = (peak() - before) / MIB
    return (f"an answer of {size / MIB:.0f} MiB, read late", f"gateway + {grew:.1f} MiB", "", "", "< 10 MiB")


def load_of(server: Server, function: str, port: int, seconds: float) -> Load:
    lines = [
        f"POST /functions/v1/{function} HTTP/1.1",
        f"host: {server.host}:{port}",
        f"apikey: {server.anon_key}",
        f"authorization: Bearer {server.anon_key}",
        "content-type: application/json",
        "x-client-info: bench",
        "content-length: 14",
        "",
        '{"name":"Ada"}',
    ]
    return Load(server.host, port, ["\r\n".join(lines)], connections=CONNECTIONS, seconds=seconds)


def median_rate(measured: list[Measured]) -> float:
    for one in measured:
        if not one.is_clean:
            raise RuntimeError(f"{one.statuses} {one.failures}")
    return statistics.median(one.rate for one in measured)


@contextmanager
def reference_port() -> Iterator[int]:
    port = free_port()
    with subprocess.Popen([sys.executable, "-m", "bench.functions_reference", str(port)]) as process:
        try:
            wait_for_port(port)
            yield port
        finally:
            process.terminate()


def wait_for_port(port: int, limit_s: float = 15) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            httpx2.get(f"http://127.0.0.1:{port}/")
        except httpx2.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the reference did not start")


@contextmanager
def peak_memory(server: Server) -> Iterator[Callable[[], int]]:
    """The gateway's largest resident size while the block runs."""
    seen = [resident_bytes(server.gateway_pid)]
    stopping = threading.Event()

    def watch() -> None:
        while not stopping.wait(0.1):
            seen.append(resident_bytes(server.gateway_pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: max(seen)
    finally:
        stopping.set()
        watcher.join()


if __name__ == "__main__":
    main()
