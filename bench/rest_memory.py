"""What ten thousand different shapes of requests leave behind: `python -m bench.rest_memory [100000]`.

Plans are kept with the shape of their request, prepared statements with their lane, both up to a bound. So the
gateway's memory grows while these fill and the allocator finds its size, and must not from then on: the shapes
come in turn, each one long after it was forgotten.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace

from bench.load import Load, run_load
from bench.requests import build_load
from bench.scenarios import Scenario
from bench.server import Server, resident_bytes, serving_bench_project

# An alias is part of the shape, as a literal is not.
KINDS = (
    "/rest/v1/notes?select=id,a{n}:title&id=gt.7&order=id.desc",
    "/rest/v1/notes?select=id,comments(a{n}:body)&order=id&limit=5",
    "/rest/v1/comments?select=a{n}:body,notes(title)&or=(id.lt.9,body.like.A*)&limit=5",
    "/rest/v1/rpc/summarise_notes?least_priority=3&select=a{n}:notes",
)
SHAPES = 10_000
LEAST_ROUNDS = 8
FLAT = 1.03  # in the second half: 50,000 requests that leave 100 bytes each are over it
LEAST_RATE = 20.0  # requests/s, less is a failure
MIB = 1024 * 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.rest_memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("requests", type=int, nargs="?", default=100_000, help="how many (100,000)")
    parser.add_argument("--connections", type=int, default=32, help="of the load (32)")
    arguments = parser.parse_args()
    with serving_bench_project() as server:
        held = [resident_bytes(server.gateway_pid)]
        print(f"{'requests':>9} {'requests/s':>11} {'gateway MiB':>12}")
        print(f"{0:9,} {'':11} {held[0] / MIB:12.1f}", flush=True)
        for sent, rate in send_rounds(server, arguments.requests, arguments.connections):
            held.append(resident_bytes(server.gateway_pid))
            print(f"{sent:9,} {rate:11,.0f} {held[-1] / MIB:12.1f}", flush=True)
    print(render_verdict(held))


def send_rounds(server: Server, total: int, connections: int) -> Iterator[tuple[int, float]]:
    """Every shape once in each round: how many requests were sent so far, and the rate of the round. Raises
    RuntimeError when one is refused."""
    load = build_shapes(server, connections)
    for start in range(0, total, SHAPES):
        count = min(SHAPES, total - start)
        measured = run_load(replace(load, count=count, seconds=count / LEAST_RATE))
        if not measured.is_clean:
            raise RuntimeError(f"{measured.statuses} {measured.failures}")
        yield start + count, measured.rate


def build_shapes(server: Server, connections: int) -> Load:
    numbers = range(SHAPES // len(KINDS))
    loads = [
        build_load(Scenario("shapes", "", target, numbers=numbers), server, server.port, 0, connections)
        for target in KINDS
    ]
    mixed = [request for alike in zip(*(load.requests for load in loads), strict=True) for request in alike]
    return replace(loads[0], requests=mixed)


def render_verdict(held: Sequence[int]) -> str:
    """`held` are the bytes before the first round and after each.

    >>> render_verdict([70 * MIB, 90 * MIB, 95 * MIB, 99 * MIB, 100 * MIB, *[101 * MIB] * 4])
    'second half: 100.0 MiB → 101.0 MiB, × 1.010: flat'
    """
    if len(held) <= LEAST_ROUNDS:
        return f"too few to tell: it takes {LEAST_ROUNDS * SHAPES:,} requests"
    first, last = held[len(held) // 2], held[-1]
    verdict = "flat" if last <= FLAT * first else "IT GROWS"
    return f"second half: {first / MIB:.1f} MiB → {last / MIB:.1f} MiB, × {last / first:.3f}: {verdict}"


if __name__ == "__main__":
    main()
