"""The packages that a function asks for: installed once per requirements file, into a folder of the project's state.

The folder is named by a hash of the file and of the interpreter, so that functions with the same file share it and a
changed file makes a new one. It comes to its place by one rename: what is there is whole.
"""

import asyncio
import fcntl
import hashlib
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from basalt import observe
from basalt.functions.errors import FunctionError
from basalt.functions.zygote_link import PASSED_ON

INSTALL_LIMIT_S = 900.0
REMEMBER_FAILURE_S = 20.0
PIP_VARIABLES = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


class Packages:
    """Installs in the background; whoever waits may stop waiting."""

    def __init__(self, state_dir: Path, environ: Mapping[str, str]) -> None:
        self._dir = state_dir / "packages"
        self._environ = {
            name: value
            for name, value in environ.items()
            if name in PASSED_ON or name.startswith(PIP_VARIABLES) or name == "REQUESTS_CA_BUNDLE"
        }
        self._installing: dict[Path, asyncio.Task[None]] = {}
        self._failed: dict[Path, tuple[float, FunctionError]] = {}

    def find(self, requirements: Path) -> Path | None:
        """The folder where it is installed already. Raises FunctionError BOOT_ERROR when the file cannot be read."""
        target = self._target(requirements)
        return target if target.is_dir() else None

    async def ensure(self, function: str, requirements: Path, *, timeout_s: float) -> Path:
        """The folder with the packages. Raises FunctionError BOOT_ERROR (503), also when the time is over; the
        installation goes on then."""
        target = self._target(requirements)
        if target.is_dir():
            return target
        now = asyncio.get_running_loop().time()
        failed_at, error = self._failed.get(target, (0.0, None))
        if error is not None and now - failed_at < REMEMBER_FAILURE_S:
            raise error
        task = self._installing.get(target)
        if task is None:
            task = asyncio.create_task(self._install(function, requirements, target))
            self._installing[target] = task
            task.add_done_callback(lambda _: self._installing.pop(target, None))
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(task)
        except TimeoutError:
            raise FunctionError(
                "BOOT_ERROR", f"The packages of {function} are being installed", status=503,
                headers=[("retry-after", "5")],
            ) from None  # fmt: skip
        return target

    async def close(self) -> None:
        for task in [*self._installing.values()]:
            task.cancel()
            with suppress(asyncio.CancelledError, FunctionError):
                await task

    def _target(self, requirements: Path) -> Path:
        try:
            text = requirements.read_bytes()
        except OSError as exc:
            raise FunctionError(
                "BOOT_ERROR", f"The requirements file {requirements.name} cannot be read", status=503
            ) from exc
        digest = hashlib.sha256(sys.implementation.cache_tag.encode() + b"\0" + text)
        return self._dir / digest.hexdigest()[:32]

    async def _install(self, function: str, requirements: Path, target: Path) -> None:
        self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        observe.event("function_packages_installing", function=function, requirements=requirements.name)
        lock = (self._dir / f"{target.name}.lock").open("a")
        try:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)  # other gateways and workers
            if not await asyncio.to_thread(target.is_dir):
                await self._run_pip(function, requirements, target)
        except FunctionError as error:
            self._failed[target] = (asyncio.get_running_loop().time(), error)
            raise
        finally:
            lock.close()
        observe.event("function_packages_installed", function=function, folder=target.name)

    async def _run_pip(self, function: str, requirements: Path, target: Path) -> None:
        unfinished = target.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"),
            *("--target", str(unfinished), "--requirement", str(requirements)),
            env=self._environ,
            cwd=requirements.parent,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(INSTALL_LIMIT_S):
                output = await self._follow(process, function)
        except TimeoutError:
            output = [f"pip took over {INSTALL_LIMIT_S:.0f} seconds"]
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode != 0:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise _refusal(function, requirements, output)
        unfinished.mkdir(exist_ok=True)  # of an empty file nothing is installed
        unfinished.replace(target)

    async def _follow(self, process: asyncio.subprocess.Process, function: str) -> list[str]:
        """Progress into the log; the last lines."""
        assert process.stdout is not None
        lines: list[str] = []
        async for raw in process.stdout:
            line = raw.decode("utf-8", "replace").strip()
            if line:
                observe.event("function_packages_progress", function=function, line=line)
                lines = [*lines[-19:], line]
        await process.wait()
        return lines


def _refusal(function: str, requirements: Path, output: list[str]) -> FunctionError:
    errors = [line.removeprefix("ERROR: ") for line in output if line.startswith("ERROR")]
    reason = (errors or output or ["pip failed"])[0]
    observe.event("function_packages_failed", level="error", function=function, reason=reason)
    return FunctionError(
        "BOOT_ERROR",
        f"The packages of {function} ({requirements.name}) cannot be installed: {reason}",
        status=503,
        hint="Without a network, put wheels into a folder and name it by `--find-links` in the file, with `--no-index`",
    )
