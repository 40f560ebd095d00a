"""How fast the lanes are by themselves: `python -m bench.lanes [--seconds 4]`.

First the rate of a read under row-level security, 20 rows as JSON, without HTTP, against pgbench with the
same statements; then what slow statements do to the fast ones beside them, which is what the choice of lanes
is for.
"""

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from basalt.postgres import (
    DatabaseAccess,
    LanePool,
    PrivateCluster,
    Query,
    apply_bootstrap,
    apply_migrations,
    find_postgres,
)
from bench.load import percentile
from bench.pgbench import READ_CONNECTIONS, Pipeline, run_pgbench
from bench.server import PROJECT, free_port

REQUESTS_AT_ONCE = 32
SLOW_AT_ONCE = 4
SLOW_STATEMENTS_S = (0.06, 0.5)
CLAIMS = json.dumps({"sub": "00000000-0000-4000-8000-000000000007", "role": "authenticated"}).encode()
PRELUDE = Query(
    "select set_config('role', $1, true), set_config('request.jwt.claims', $2, true)",
    (b"authenticated", CLAIMS),
)
READ = Query(
    """select coalesce(json_agg(note), '[]')::text from (select id, title, body, priority, created_at from
    public.notes order by id desc limit $1) as note""",
    (b"20",),
    scope="authenticated",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.lanes", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each measurement")
    seconds = parser.parse_args().seconds
    with bench_database() as access:
        uvloop.run(measure(access, seconds))
        program = find_postgres().bin_dir / "pgbench"
        conninfo, statements = access.conninfo("authenticator"), Pipeline([PRELUDE, READ])
        reference = run_pgbench(program, conninfo, statements, connections=READ_CONNECTIONS, seconds=seconds)
        print(f"pgbench, the same statements: {reference.rate:,.0f}/s")


@contextmanager
def bench_database() -> Iterator[DatabaseAccess]:
    folder = Path(tempfile.mkdtemp(prefix="basalt-bench-"))
    folder.chmod(0o711)
    cluster = PrivateCluster(folder / ".basalt", port=free_port())
    try:
        access = cluster.ensure()
        apply_bootstrap(access)
        apply_migrations(access, PROJECT)
        yield access
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def measure(access: DatabaseAccess, seconds: float) -> None:
    lanes = LanePool(access.conninfo("authenticator"), name="bench")
    await lanes.open()
    await read_for(lanes, 1.0)
    took_s = await read_for(lanes, seconds)
    print(f"lanes, {REQUESTS_AT_ONCE} at once: {len(took_s) / seconds:,.0f}/s, {render(took_s)}")
    for slow_s in SLOW_STATEMENTS_S:
        async with asyncio.TaskGroup() as group:
            slow = [group.create_task(be_slow(lanes, slow_s)) for _ in range(SLOW_AT_ONCE)]
            took_s = await read_for(lanes, seconds)
            for task in slow:
                task.cancel()
        print(
            f"beside {SLOW_AT_ONCE} statements of {slow_s:g} s each: {len(took_s) / seconds:,.0f}/s, {render(took_s)}"
        )
    await lanes.close()


async def read_for(lanes: LanePool, seconds: float) -> list[float]:
    """Seconds that each request took, sorted."""
    took_s: list[float] = []
    over_at = time.perf_counter() + seconds

    async def keep_reading() -> None:
        while (started := time.perf_counter()) < over_at:
            await lanes.execute([PRELUDE, READ], read_only=True)
            took_s.append(time.perf_counter() - started)

    await asyncio.gather(*(keep_reading() for _ in range(REQUESTS_AT_ONCE)))
    return sorted(took_s)


async def be_slow(lanes: LanePool, slow_s: float) -> None:
    while True:
        await lanes.execute([PRELUDE, Query("select pg_sleep($1::float)", (b"%g" % slow_s,))])


def render(took_s: list[float]) -> str:
    shares = (0.5, 0.99, 0.999)
    return ", ".join(f"p{share * 100:g} {percentile(took_s, share) * 1000:.2f} ms" for share in shares)


if __name__ == "__main__":
    main()
