"""How fast Storage is: `python -m bench.storage [--seconds 5] [--record]`.

Small objects and large ones are set against a bare uvicorn server that only reads and writes files
(`storage_reference`), and large ones against `cp` too, all in the same run on the same disk. Basalt's side includes
the permission of PostgreSQL, the row, the checksum and the sync to disk. A body of two gigabytes shows what memory a
transfer takes.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import jwt
import psycopg

from basalt.postgres import load_access
from bench.load import Load, Measured, run_load
from bench.outcomes import record_table
from bench.requests import USER, sign_token
from bench.server import Server, free_port, serving_bench_project
from bench.storage_transfer import Transfer, run_transfer

SMALL_BYTES = 4096
SMALL_OBJECTS = 1000
LARGE_BYTES = 100 * 1024 * 1024
HUGE_BYTES = 2 * 1024 * 1024 * 1024
ROUNDS = 5
CONNECTIONS = 16
HEADER = ("what", "Basalt", "reference", "ratio", "goal")

POLICIES = """
create policy "everybody reads" on storage.objects for select to anon, authenticated
    using (bucket_id in ('shown', 'private'));
create policy "own folder" on storage.objects for all to authenticated
    using (bucket_id = 'own' and (storage.foldername(name))[1] = (select auth.uid()::text))
    with check (bucket_id = 'own' and (storage.foldername(name))[1] = (select auth.uid()::text));
"""


@dataclass(frozen=True)
class Row:
    what: str
    basalt: str
    reference: str = ""
    ratio: str = ""
    goal: str = ""


@dataclass(frozen=True)
class Bench:
    """Both servers, and the folder with the files of the reference."""

    server: Server
    token: str
    reference_port: int
    folder: Path
    seconds: float

    def head(
        self, method: str, path: str, size: int = 0, *, reference: bool = False, token: str | None = None
    ) -> str:
        port = self.reference_port if reference else self.server.port
        length = f"content-length: {size}\r\n" if method != "GET" else ""
        bearer = f"authorization: Bearer {token}\r\n" if token else ""
        target = path if reference else f"/storage/v1{path}"
        return (
            f"{method} {target} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n{bearer}{length}"
            "content-type: application/octet-stream\r\n\r\n"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="length of each measurement of small objects"
    )
    parser.add_argument("--record", action="store_true", help="append the figures to bench/RESULTS.md")
    options = parser.parse_args()
    os.environ["SUPABASE_STORAGE_FILE_SIZE_LIMIT"] = "3GiB"
    folder = Path(tempfile.mkdtemp(prefix="basalt-bench-reference-"))
    try:
        with serving_bench_project() as server, serving_reference(folder) as port:
            bench = prepare(server, port, folder, options.seconds)
            rows = [row for measure in MEASUREMENTS for row in measured(measure, bench)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.record:
        record_table(f"Storage, {options.seconds:g} s each", render_table(rows))


def render_table(rows: list[Row]) -> str:
    cells = [HEADER, ("---", "--:", "--:", "--:", "--:"), *[tuple(vars(row).values()) for row in rows]]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def measured(measure: Callable[[Bench], list[Row]], bench: Bench) -> list[Row]:
    rows = measure(bench)
    for row in rows:
        print(" | ".join(vars(row).values()), flush=True)
    return rows


@contextmanager
def serving_reference(folder: Path) -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "bench.storage_reference", str(folder), str(port)])
    try:
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            try:
                httpx2.put(f"http://127.0.0.1:{port}/ready", content=b"x")
                break
            except httpx2.TransportError:
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def prepare(server: Server, port: int, folder: Path, seconds: float) -> Bench:
    """Buckets, policies, the small objects on both sides, and the large file."""
    with psycopg.connect(
        load_access(server.project_dir / ".basalt").conninfo("postgres"), autocommit=True
    ) as connection:
        connection.execute(POLICIES)
    service = jwt.encode({"role": "service_role", "exp": 2**31}, server.jwt_secret, algorithm="HS256")
    content = os.urandom(SMALL_BYTES)
    headers = {"authorization": f"Bearer {service}"}
    with httpx2.Client(base_url=f"http://{server.host}:{server.port}/storage/v1", headers=headers) as client:
        for name, public in (("shown", True), ("private", False), ("own", False)):
            client.post("/bucket", json={"name": name, "public": public}).raise_for_status()
        for number in range(SMALL_OBJECTS):
            for bucket in ("shown", "private"):
                client.post(f"/object/{bucket}/{number}", content=content).raise_for_status()
            (folder / str(number)).write_bytes(content)
    with (folder / "large").open("wb") as large:
        for _ in range(LARGE_BYTES // 1024 // 1024):
            large.write(os.urandom(1024 * 1024))
    return Bench(server, sign_token(server.jwt_secret, USER, 0), port, folder, seconds)


def small_reads(bench: Bench) -> list[Row]:
    def load(path: str, *, reference: bool = False, token: str | None = None) -> Measured:
        requests = [
            bench.head("GET", path.format(n=number), reference=reference, token=token)
            for number in range(SMALL_OBJECTS)
        ]
        return small_load(bench, requests, reference=reference)

    bare = load("/{n}", reference=True)
    public = load("/object/public/shown/{n}")
    private = load("/object/authenticated/private/{n}", token=bench.token)
    return [
        row_of_rates("GET of 4 KB, public bucket", public, bare, "≥ 0.6"),
        row_of_rates("GET of 4 KB, private bucket under a policy", private, bare, "≥ 0.6"),
    ]


def small_writes(bench: Bench) -> list[Row]:
    content = os.urandom(SMALL_BYTES).decode("latin-1")
    count = 200_000  # more than there is time for: each name is written once
    fresh = [
        bench.head("POST", f"/object/own/{USER}/{number}", SMALL_BYTES, token=bench.token) + content
        for number in range(count // 10)
    ]
    bare = small_load(
        bench,
        [bench.head("PUT", f"/w{number}", SMALL_BYTES, reference=True) + content for number in range(1000)],
        reference=True,
    )
    written = small_load(bench, fresh)
    again = small_load(
        bench,
        [
            bench.head("PUT", f"/object/own/{USER}/{number}", SMALL_BYTES, token=bench.token) + content
            for number in range(1000)
        ],
    )
    return [
        row_of_rates("PUT of 4 KB, new, under a policy, durable", written, bare, ""),
        row_of_rates("PUT of 4 KB, replaced, under a policy, durable", again, bare, ""),
    ]


def small_load(bench: Bench, requests: list[str], *, reference: bool = False) -> Measured:
    port = bench.reference_port if reference else bench.server.port
    found = run_load(Load("127.0.0.1", port, requests, connections=CONNECTIONS, seconds=bench.seconds))
    if not found.is_clean:
        raise RuntimeError(f"not clean: {found.statuses} {found.failures}")
    return found


def row_of_rates(what: str, found: Measured, bare: Measured, goal: str) -> Row:
    return Row(
        what,
        f"{found.rate:,.0f}/s, p99 {found.p99_ms:.1f} ms",
        f"bare server {bare.rate:,.0f}/s",
        f"{found.rate / bare.rate:.2f}",
        goal,
    )


def large_bodies(bench: Bench) -> list[Row]:
    large = str(bench.folder / "large")
    upload = bench.head("PUT", f"/object/own/{USER}/large", LARGE_BYTES, token=bench.token)
    bare_upload = bench.head("PUT", "/large-copy", LARGE_BYTES, reference=True)
    download = bench.head("GET", f"/object/authenticated/own/{USER}/large", token=bench.token)
    bare_download = bench.head("GET", "/large", reference=True)
    server = ("127.0.0.1", bench.server.port)
    reference = ("127.0.0.1", bench.reference_port)
    rates: dict[str, list[float]] = {
        "up": [],
        "bare up": [],
        "down": [],
        "bare down": [],
        "cp": [],
        "cp, synced": [],
    }
    for _ in range(ROUNDS):  # by turns, so that a slow moment of the machine meets both
        rates["bare up"].append(rate(run_transfer(Transfer(*reference, bare_upload, large))))
        rates["up"].append(rate(run_transfer(Transfer(*server, upload, large))))
        rates["bare down"].append(rate(run_transfer(Transfer(*reference, bare_download))))
        rates["down"].append(rate(run_transfer(Transfer(*server, download))))
        rates["cp"].append(copy_rate(bench.folder, synced=False))
        rates["cp, synced"].append(copy_rate(bench.folder, synced=True))
    median = {name: statistics.median(found) for name, found in rates.items()}

    def row(what: str, name: str, against: str, goal: str) -> Row:
        return Row(
            what,
            f"{median[name]:,.0f} MB/s",
            f"{against} {median[against]:,.0f} MB/s",
            f"{median[name] / median[against]:.2f}",
            goal,
        )

    return [
        row("100 MB down, private bucket", "down", "bare down", "≥ 0.8"),
        row("100 MB up, with checksum and sync", "up", "bare up", "≥ 0.8"),
        row("100 MB up, with checksum and sync", "up", "cp", ""),
        row("100 MB up, with checksum and sync", "up", "cp, synced", ""),
    ]


def rate(transferred: tuple[float, int]) -> float:
    seconds, size = transferred
    return size / seconds / 1e6


def copy_rate(folder: Path, *, synced: bool) -> float:
    target = folder / "cp"
    target.unlink(missing_ok=True)
    started = time.perf_counter()
    subprocess.run(["cp", folder / "large", target], check=True)
    if synced:
        subprocess.run(["sync", target], check=True)
    return LARGE_BYTES / (time.perf_counter() - started) / 1e6


def huge_body(bench: Bench) -> list[Row]:
    """Two gigabytes up and down, and the most that the gateway's memory grew."""
    huge = bench.folder / "huge"
    with huge.open("wb") as file:
        file.truncate(HUGE_BYTES)
    before = resident_mb(bench.server.gateway_pid)
    peak = [before]
    done = threading.Event()
    watch = threading.Thread(target=watch_memory, args=[bench.server.gateway_pid, peak, done])
    watch.start()
    upload = bench.head("PUT", f"/object/own/{USER}/huge", HUGE_BYTES, token=bench.token)
    download = bench.head("GET", f"/object/authenticated/own/{USER}/huge", token=bench.token)
    up = rate(run_transfer(Transfer("127.0.0.1", bench.server.port, upload, str(huge))))
    down = rate(run_transfer(Transfer("127.0.0.1", bench.server.port, download)))
    done.set()
    watch.join()
    return [
        Row(
            "2 GB up and down",
            f"{up:,.0f} and {down:,.0f} MB/s",
            f"gateway {before:.0f} MB before",
            f"grew by {max(peak) - before:.0f} MB",
            "< 100 MB",
        )
    ]


def watch_memory(pid: int, peak: list[float], done: threading.Event) -> None:
    while not done.wait(0.05):
        peak[0] = max(peak[0], resident_mb(pid))


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


MEASUREMENTS: tuple[Callable[[Bench], list[Row]], ...] = (small_reads, small_writes, large_bodies, huge_body)

if __name__ == "__main__":
    main()
