"""Which process serves a call: a few per function, made on demand, replaced when files or secrets change, when they
grow too large, or when they die."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from time import perf_counter

from basalt import observe
from basalt.access import ProjectKeys, SecretsWatch, load_sealer
from basalt.config import Settings
from basalt.errors import BasaltError
from basalt.functions.answers import CANCELLED, OUT_OF_MEMORY
from basalt.functions.deno import DenoFunction, start_deno
from basalt.functions.environment import build_environment
from basalt.functions.errors import FunctionError
from basalt.functions.file_watch import RESCAN_S, FileWatch
from basalt.functions.frames import Call, Failure, Progress
from basalt.functions.function_log import FunctionLog
from basalt.functions.function_process import FunctionAnswer, FunctionProcess
from basalt.functions.functions import Function, find_function, functions_dir
from basalt.functions.packages import Packages
from basalt.functions.runtime import WorkerConfig
from basalt.functions.zygote_link import Zygote
from basalt.postgres import DatabaseAccess

IDLE_S = 300.0
SWEEP_S = 5.0
BOOT_AGAIN_S = 1.0
MAX_WAITING = 1000
CONNECTIONS = 4

CALLS = observe.Counter("basalt_function_calls_total", "Calls and jobs.", ["function", "outcome"])
CALL_SECONDS = observe.Histogram(
    "basalt_function_call_seconds", "Time to the beginning of the answer.", ["function"]
)
STARTS = observe.Counter("basalt_function_starts_total", "Processes started (cold starts).", ["function"])
START_SECONDS = observe.Histogram("basalt_function_start_seconds", "How long their start took.", ["function"])
PROCESSES = observe.Gauge("basalt_function_processes", "Processes of a function.", ["function"])
IN_FLIGHT = observe.Gauge("basalt_function_calls_in_flight", "Calls in them.", ["function"])
WAITING = observe.Gauge("basalt_function_calls_waiting", "Calls that wait for a place.", ["function"])


@dataclass
class _Slot:
    """A function's processes, and the calls that wait for a place in them."""

    places: asyncio.Semaphore
    processes: list[FunctionProcess] = field(default_factory=list)
    signature: int = 0
    waiting: int = 0
    memory_mb: int = 0
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    failed: tuple[float, int, FunctionError] | None = None


class FunctionPool:
    """`api_url` is where functions reach the project's API; `on_progress` is told how far jobs are."""

    def __init__(
        self,
        settings: Settings,
        access: DatabaseAccess,
        keys: ProjectKeys,
        *,
        api_url: str,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.log = FunctionLog(settings.state_dir)
        self._settings = settings
        self._access = access
        self._keys = keys
        self._api_url = api_url
        self._secrets: Mapping[str, str] = {}
        self._secrets_version = 0
        self._secrets_watch = SecretsWatch(
            access.conninfo("supabase_admin"),
            lambda: load_sealer(settings.state_dir, settings.basalt.secrets.key),
            on_change=self._use_secrets,
        )
        self._zygote = Zygote(os.environ, on_progress)
        self._packages = Packages(settings.state_dir, os.environ)
        self._slots: dict[str, _Slot] = {}
        self._retired: set[FunctionProcess] = set()
        self._sweeper: asyncio.Task[None] | None = None
        looks_always = settings.edge_runtime.policy == "oneshot"
        self._watch = FileWatch(functions_dir(settings), rescan_s=0 if looks_always else RESCAN_S)
        self._found: dict[str, Function] = {}
        self._found_with = 0

    def open(self) -> None:
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep())
            self._forget_figures = observe.before_scrape(self._tell)

    async def close(self, *, drain_s: float = 0) -> None:
        """After calls and what goes on behind them have ended, or the time for that is up."""
        if self._sweeper is None:
            return
        self._sweeper.cancel()
        self._sweeper = None
        self._forget_figures()
        await self._secrets_watch.close()
        await self._drain(drain_s)
        await self._packages.close()
        processes = [*self._retired, *(one for slot in self._slots.values() for one in slot.processes)]
        await asyncio.gather(*(process.close() for process in processes))
        self._slots.clear()
        self._retired.clear()
        await self._zygote.close()
        self.log.close()

    def find(self, name: str) -> Function | None:
        """The function, as the files were at the last look."""
        if (signature := self._watch.signature()) != self._found_with:
            self._found.clear()
            self._found_with = signature
        known = self._found.get(name)
        if known is None and (known := find_function(self._settings, name)) is not None:
            self._found[name] = known
        return known

    async def call(
        self, function: Function, call: Call, *, timeout_s: float | None = None
    ) -> FunctionAnswer | Failure:
        """Raises FunctionError BOOT_ERROR, FUNCTION_BUSY, FUNCTION_TIMEOUT, FUNCTION_CRASHED."""
        started = perf_counter()
        status: int | str = "CANCELLED"
        try:
            answer = await self._call_traced(function, call, timeout_s or function.settings.timeout_s)
            status = answer.status
            if isinstance(answer, Failure):
                self._note_failure(function, call, answer)
        except FunctionError as error:
            status = error.code
            raise
        finally:
            took_s = perf_counter() - started
            CALLS.add(1, function.name, outcome_of(status))
            CALL_SECONDS.note(took_s, function.name)
            ms = round(took_s * 1000, 2)
            fields = {"method": call.method, "path": call.path, "status": status, "ms": ms, "role": call.role}
            self.log.note(function.name, "call", call.request_id, **fields)
        return answer

    async def _call_traced(
        self, function: Function, call: Call, timeout_s: float
    ) -> FunctionAnswer | Failure:
        if not observe.is_tracing():
            return await self._call(function, call, timeout_s)
        with observe.span(f"function {function.name}", kind="client") as span:
            call.headers["traceparent"] = observe.traceparent()
            answer = await self._call(function, call, timeout_s)
            if isinstance(answer, Failure):
                span.fail(answer.code)
            return answer

    async def _call(self, function: Function, call: Call, timeout_s: float) -> FunctionAnswer | Failure:
        await self._ensure_secrets()
        slot = self._slots.get(function.name)
        if slot is None:
            own = function.settings
            slot = _Slot(asyncio.Semaphore(own.concurrency * own.processes), memory_mb=own.memory_mb)
            self._slots[function.name] = slot
        if slot.places.locked():
            await self._wait(function.name, slot, timeout_s)
        else:
            await slot.places.acquire()
        try:
            process = self._pick(function, slot) or await self._start(function, slot, timeout_s)
            answer = await process.call(call, timeout_s=timeout_s)
            if isinstance(answer, Failure) and answer.code == OUT_OF_MEMORY:
                self._retire(slot, process)
            return answer
        finally:
            slot.places.release()

    async def _wait(self, name: str, slot: _Slot, timeout_s: float) -> None:
        if slot.waiting >= MAX_WAITING:
            raise FunctionError("FUNCTION_BUSY", f"{name} has {MAX_WAITING} calls waiting", status=503)
        slot.waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                await slot.places.acquire()
        except TimeoutError:
            raise FunctionError(
                "FUNCTION_BUSY", f"{name} had no free place for {timeout_s:g} seconds", status=503
            ) from None
        finally:
            slot.waiting -= 1

    # Processes

    def _pick(self, function: Function, slot: _Slot) -> FunctionProcess | None:
        """The least busy process; None when another one should be started."""
        if slot.signature != self._signature():
            return None
        live = [process for process in slot.processes if not process.is_lost]
        if not live:
            return None
        best = live[0] if len(live) == 1 else min(live, key=lambda process: process.in_flight)
        own = function.settings
        return best if best.in_flight < own.concurrency or len(live) >= own.processes else None

    async def _start(self, function: Function, slot: _Slot, timeout_s: float) -> FunctionProcess:
        async with slot.starting:
            if (ready := self._pick(function, slot)) is not None:  # started while we waited for our turn
                return ready
            signature = self._signature()
            if slot.signature != signature:
                for outdated in [*slot.processes]:
                    self._retire(slot, outdated)
                slot.signature = signature
            for lost in [process for process in slot.processes if process.is_lost]:
                self._retire(slot, lost)
            now = asyncio.get_running_loop().time()
            if slot.failed is not None:
                failed_at, failed_with, error = slot.failed
                if failed_with == signature and now - failed_at < BOOT_AGAIN_S:
                    raise error
            try:
                process = await self._start_process(function, timeout_s)
            except FunctionError as error:
                slot.failed = (now, signature, error)
                self.log.note(function.name, "note", "", text=error.message)
                raise
            slot.processes.append(process)
            return process

    async def _start_process(self, function: Function, timeout_s: float) -> FunctionProcess:
        name = function.name
        env = {**build_environment(self._settings, self._access, self._keys), **self._secrets}
        if not function.is_python:
            return await self._start_deno(function, env)
        own = function.settings
        packages = None
        if function.requirements is not None:
            packages = await self._packages.ensure(name, function.requirements, timeout_s=timeout_s)
        config = WorkerConfig(
            name=name,
            functions_dir=str(functions_dir(self._settings)),
            entrypoint=str(function.entrypoint),
            conninfo=self._access.conninfo("authenticator"),
            env=env,
            memory_mb=own.memory_mb,
            connections=min(CONNECTIONS, own.concurrency),
            api_url=self._api_url,
            packages=None if packages is None else str(packages),
            max_answer_bytes=own.max_answer_bytes,
            total_timeout_s=own.total_timeout_s,
            queues={
                other: chosen.queue
                for other, chosen in self._settings.functions.items()
                if chosen.queue != "default"
            },
            cache=asdict(self._settings.basalt.cache),
            project_id=self._settings.project_id,
        )
        started = perf_counter()
        process = await self._zygote.fork(config, self._log_of(name))
        _count_start(name, perf_counter() - started)
        ms = round((perf_counter() - started) * 1000, 1)
        observe.event("function_started", level="debug", function=name, pid=process.pid, ms=ms)
        self.log.note(name, "note", "", text=f"process {process.pid} started in {ms} ms")
        return process

    async def _start_deno(self, function: Function, env: Mapping[str, str]) -> FunctionProcess:
        own = function.settings
        started = perf_counter()
        process = await start_deno(
            DenoFunction(
                name=function.name,
                functions_dir=functions_dir(self._settings),
                entrypoint=function.entrypoint,
                state_dir=self._settings.state_dir,
                env=env,
                memory_mb=own.memory_mb,
                total_timeout_s=own.total_timeout_s,
                import_map=None if own.import_map is None else self._settings.supabase_dir / own.import_map,
            ),
            os.environ,
            self._log_of(function.name),
        )
        _count_start(function.name, perf_counter() - started)
        return process

    def _tell(self) -> None:
        for name, slot in self._slots.items():
            PROCESSES.set(len(slot.processes), name)
            IN_FLIGHT.set(sum(process.in_flight for process in slot.processes), name)
            WAITING.set(slot.waiting, name)

    def _log_of(self, name: str) -> Callable[[str, str], None]:
        return lambda request_id, line: self.log.note(name, "line", request_id, line=line)

    async def _ensure_secrets(self) -> None:
        """A function that lacks its secrets would fail in ways of its own, so it is not called without them."""
        try:
            await self._secrets_watch.ensure_loaded()
        except BasaltError as error:
            raise FunctionError("BOOT_ERROR", error.message, status=503, hint=error.hint) from error

    def _use_secrets(self, secrets: Mapping[str, str]) -> None:
        """Beside the environment, from the next call on, in new processes."""
        self._secrets = dict(secrets)
        self._secrets_version += 1

    def _signature(self) -> int:
        return hash((self._watch.signature(), self._secrets_version))

    def _retire(self, slot: _Slot, process: FunctionProcess) -> None:
        """No new calls for it; it ends when those in it have."""
        if process in slot.processes:
            slot.processes.remove(process)
            self._retired.add(process)

    async def _sweep(self) -> None:
        """End what is retired and done, too large, or idle."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now = asyncio.get_running_loop().time()
            for name, slot in self._slots.items():
                for process in [*slot.processes]:
                    if (rss_mb := process.rss_mb) > slot.memory_mb:
                        observe.event("function_recycled", function=name, rss_mb=round(rss_mb))
                        self.log.note(name, "note", "", text=f"replaced: it had grown to {rss_mb:.0f} MB")
                    elif not process.is_lost and (process.in_flight or now - process.idle_since < IDLE_S):
                        continue
                    self._retire(slot, process)
            await self._end_retired()
            self._zygote.sweep()

    async def _end_retired(self) -> None:
        for process in [one for one in self._retired if one.is_lost or not one.in_flight]:
            self._retired.discard(process)
            await process.close()

    async def _drain(self, drain_s: float) -> None:
        deadline = asyncio.get_running_loop().time() + drain_s
        processes = [*self._retired, *(one for slot in self._slots.values() for one in slot.processes)]
        while any(process.in_flight for process in processes):
            if asyncio.get_running_loop().time() >= deadline:
                return
            await asyncio.sleep(0.05)

    def _note_failure(self, function: Function, call: Call, failure: Failure) -> None:
        if failure.trace is not None and failure.code != CANCELLED:
            observe.event("function_crashed", level="error", function=function.name, traceback=failure.trace)
            self.log.note(function.name, "trace", call.request_id, text=failure.trace)


def outcome_of(status: int | str) -> str:
    """
    >>> outcome_of(201), outcome_of("FUNCTION_TIMEOUT"), outcome_of("BOOT_ERROR")
    ('2xx', 'timeout', 'boot_error')
    """
    return f"{status // 100}xx" if isinstance(status, int) else status.lower().removeprefix("function_")


def _count_start(name: str, took_s: float) -> None:
    STARTS.add(1, name)
    START_SECONDS.note(took_s, name)
