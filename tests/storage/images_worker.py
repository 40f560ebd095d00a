"""A process that works on images, as the pool starts it, spoken to without any event loop."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from basalt.storage.images import Plan
from basalt.storage.images.job import LENGTH, OUTCOMES, Job, Outcome, Refused, Rendered, build_frame
from basalt.storage.images.pool import BOOT, ENVIRONMENT, FOLDERS


class Engine:
    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process

    def work(
        self,
        source: bytes | Path,
        plan: Plan | None = None,
        target: str | None = None,
        *,
        max_pixels: int = 50_000_000,
        max_bytes: int = 2**25,
    ) -> Outcome:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        job = Job(
            path=str(source) if isinstance(source, Path) else None,
            data=source if isinstance(source, bytes) else b"",
            plan=plan or Plan(),
            target=target,  # type: ignore[arg-type]
            max_pixels=max_pixels,
            max_bytes=max_bytes,
            timeout_s=20,
        )
        self.process.stdin.write(build_frame(job))
        self.process.stdin.flush()
        [length] = LENGTH.unpack(self.process.stdout.read(LENGTH.size))
        return OUTCOMES.decode(self.process.stdout.read(length))

    def render(self, source: bytes | Path, plan: Plan | None = None, target: str | None = None) -> Rendered:
        outcome = self.work(source, plan, target)
        assert isinstance(outcome, Rendered), outcome
        return outcome

    def refusal(self, source: bytes | Path, plan: Plan | None = None, **limits: int) -> str:
        outcome = self.work(source, plan, **limits)
        assert isinstance(outcome, Refused), outcome
        return outcome.reason


@contextmanager
def running_engine(name: str, memory_mb: int = 1024, *, has_vips: bool = True) -> Iterator[Engine]:
    """`has_vips` False is a machine without libvips."""
    boot = BOOT if has_vips else f"import sys; sys.modules['pyvips'] = None\n{BOOT}"
    with subprocess.Popen(
        [sys.executable, "-I", "-c", boot, *FOLDERS, name, str(memory_mb)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
    ) as process:
        yield Engine(process)
