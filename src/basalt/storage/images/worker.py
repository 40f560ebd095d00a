"""A process that works on images, one at a time: jobs come on standard input, outcomes leave on standard output.

It takes what strangers have uploaded apart, so it is confined: no environment, a bound on memory, no files to write, a
clock that ends it should nobody else do. It imports no other part of Basalt than its neighbours in this folder, and
ends when its input does.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import IO, Final

from basalt.storage.images.formats import CONTENT_TYPES, find_kind
from basalt.storage.images.job import (
    JOBS,
    LENGTH,
    MAX_FRAME_BYTES,
    Job,
    Outcome,
    PassedThrough,
    Refused,
    RefusedError,
    Rendered,
    build_frame,
)
from basalt.storage.images.plan import Plan

NICE: Final = 5  # images wait rather than everybody else
GRACE_S: Final = 5  # the gateway's own clock goes first

# data, kind, plan, format, most pixels → data, format, width, height
Engine = Callable[[bytes, str, Plan, str, int], tuple[bytes, str, int, int]]


def main() -> None:
    """`worker ENGINE MEMORY_MB`, where the engine is `auto`, `vips` or `pillow`."""
    engine_name, memory_mb = sys.argv[1:]
    confine(int(memory_mb))
    # Whatever a library prints must not get between the frames.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while (job := read_job(sys.stdin.buffer)) is not None:
        signal.alarm(int(job.timeout_s) + GRACE_S)
        outcome = work(job, engine_name)
        output.write(build_frame(outcome))
        output.flush()
        signal.alarm(0)


def confine(memory_mb: int) -> None:
    """`RLIMIT_DATA` counts what is really writable; under `RLIMIT_AS` the address space that threads and libraries
    merely reserve would count as well."""
    memory = memory_mb * 1024 * 1024
    for limit, value in (
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    os.nice(NICE)


def read_job(source: IO[bytes]) -> Job | None:
    """None at the end of the input."""
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    [length] = LENGTH.unpack(head)
    if length > MAX_FRAME_BYTES:
        return None
    body = source.read(length)
    return JOBS.decode(body) if len(body) == length else None


def work(job: Job, engine_name: str) -> Outcome:
    try:
        data = load_source(job)
        kind = find_kind(data)
        if kind is None:
            raise RefusedError("invalid", "of no known kind")
        if kind == "svg":
            return PassedThrough(CONTENT_TYPES[kind])
        engine = choose_engine(engine_name, kind)
        body, target, width, height = engine(data, kind, job.plan, job.target or kind, job.max_pixels)
    except RefusedError as error:
        return Refused(error.reason, error.detail)
    except MemoryError:
        return Refused("invalid", "needs more memory than there may be")
    except Exception as error:
        return Refused("failed", f"{type(error).__name__}: {error}")
    return Rendered(body, CONTENT_TYPES[target], width, height)


def load_source(job: Job) -> bytes:
    data = job.data
    if job.path is not None:
        try:
            with Path(job.path).open("rb") as file:
                data = file.read(job.max_bytes + 1)
        except FileNotFoundError as error:
            raise RefusedError("missing") from error
    if len(data) > job.max_bytes:
        raise RefusedError("bytes")
    return data


def choose_engine(name: str, kind: str) -> Engine:
    """libvips where it is present and knows the kind."""
    if name != "pillow" and kind not in ("bmp", "ico"):
        try:
            return load_engine("vips_engine")
        except (ImportError, OSError):  # the package, or the library behind it
            if name == "vips":
                raise
    return load_engine("pillow_engine")


def load_engine(module: str) -> Engine:
    """With the first image for it: each takes a tenth of a second and ten megabytes."""
    engine: Engine = import_module(f"basalt.storage.images.{module}").render
    return engine


if __name__ == "__main__":
    main()
