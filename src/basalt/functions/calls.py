"""The calls of one function's process, side by side in its event loop."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from typing import Any

import orjson

from basalt.functions import output
from basalt.functions.answers import (
    CANCELLED,
    check_size,
    render_answer,
    render_crash,
    render_error,
    render_job_error,
    too_large,
)
from basalt.functions.author import Request
from basalt.functions.context import Context
from basalt.functions.errors import FunctionError
from basalt.functions.frames import (
    CHUNK_BYTES,
    WINDOW_BYTES,
    Answer,
    Call,
    Cancel,
    Channel,
    Chunk,
    Credit,
    End,
    Failure,
    Head,
    JobFacts,
    Progress,
    Settled,
    ToWorker,
)
from basalt.functions.loading import Loaded
from basalt.functions.runtime import Runtime

MAX_BACKGROUND = 1000


class Calls:
    """`take` is given every frame from the gateway."""

    def __init__(self, loaded: Loaded, runtime: Runtime) -> None:
        self._loaded = loaded
        self._runtime = runtime
        self._running: dict[int, _Running] = {}
        self._background_count = 0

    def connect(self, channel: Channel[ToWorker]) -> None:
        self._channel = channel

    def take(self, frame: ToWorker) -> None:
        if isinstance(frame, Call):
            running = _Running(frame)
            self._running[frame.id] = running
            running.task = asyncio.get_running_loop().create_task(self._serve(running))
        elif (known := self._running.get(frame.id)) is None:
            return
        elif isinstance(frame, Cancel):
            known.cancel(everything=frame.everything)
        elif isinstance(frame, Credit):
            known.grant(frame.size)

    async def stop(self) -> None:
        """Give up what still runs."""
        tasks = [task for running in self._running.values() for task in (running.task, *running.background)]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=1) if tasks else None

    async def _serve(self, running: "_Running") -> None:
        call = running.call
        output.request_id.set(call.request_id)
        try:
            await self._answer(running, await self._run(running))
        except asyncio.CancelledError as error:
            cancelled = Failure(call.id, CANCELLED, 499, "The call was cancelled", None, None, None)
            self._fail(running, cancelled if running.is_cancelled else render_crash(call.id, error))
        except BaseException as error:  # SystemExit too: it would end the process of everybody else's calls
            render = render_error if call.job is None else render_job_error
            self._fail(running, render(call.id, error))
        if (reads := self._runtime.take_cache_reads()) is not None:
            self._channel.send(reads)

    async def _run(self, running: "_Running") -> object:
        call = running.call
        context = Context(call, self._runtime, partial(self._start_background, running))
        if call.job is not None and self._loaded.perform is not None:
            return await self._loaded.perform(self._job(call, call.job), context)
        if self._loaded.handler is None:
            raise FunctionError("NOT_CALLABLE", "This function performs jobs only", status=404)
        return await self._loaded.handler(
            Request(call.method, call.path, call.headers, call.query_string, call.body), context
        )

    async def _answer(self, running: "_Running", value: object) -> None:
        number, limit_bytes = running.call.id, self._runtime.config.max_answer_bytes
        status, headers, content = render_answer(value)
        if isinstance(content, bytes):
            check_size(content, limit_bytes)
            if len(content) <= WINDOW_BYTES:
                is_open = self._settle(running)
                self._channel.send(Answer(number, status, headers, content, is_open))
                return
            headers = [*headers, ("content-length", str(len(content)))]
        self._channel.send(Head(number, status, headers))
        if isinstance(content, bytes):
            await self._send_pieces(running, content)
        else:
            await self._send_stream(running, content, limit_bytes)
        self._channel.send(End(number, self._settle(running)))

    async def _send_stream(
        self, running: "_Running", content: AsyncIterator[bytes | str], limit_bytes: int
    ) -> None:
        size = 0
        try:
            async for part in content:
                raw = part.encode() if isinstance(part, str) else bytes(part)
                size += len(raw)
                if size > limit_bytes:
                    raise too_large(limit_bytes)
                await self._send_pieces(running, raw)
        finally:
            close = getattr(content, "aclose", None)
            if close is not None:
                await close()

    async def _send_pieces(self, running: "_Running", raw: bytes) -> None:
        for start in range(0, len(raw), CHUNK_BYTES):
            piece = raw[start : start + CHUNK_BYTES]
            await running.spend(len(piece))
            self._channel.send(Chunk(running.call.id, piece))

    def _fail(self, running: "_Running", failure: Failure) -> None:
        failure.is_open = self._settle(running)
        try:
            self._channel.send(failure)
        except Exception as odd:  # details that MessagePack cannot say
            self._channel.send(render_crash(failure.id, odd))

    # What goes on behind the answer

    def _start_background(
        self, running: "_Running", work: Coroutine[Any, Any, object]
    ) -> asyncio.Task[object]:
        if self._background_count >= MAX_BACKGROUND:
            work.close()
            raise FunctionError(
                "BACKGROUND_FULL",
                f"{MAX_BACKGROUND} pieces of work run in the background already",
                status=503,
            )
        task: asyncio.Task[object] = asyncio.get_running_loop().create_task(_guard(work))
        self._background_count += 1
        running.background.add(task)
        task.add_done_callback(partial(self._end_background, running))
        return task

    def _end_background(self, running: "_Running", task: asyncio.Task[object]) -> None:
        self._background_count -= 1
        running.background.discard(task)
        if running.is_answered and not running.background:
            self._running.pop(running.call.id, None)
            self._channel.send(Settled(running.call.id))

    def _settle(self, running: "_Running") -> bool:
        """The answer is complete: whether something goes on behind it."""
        running.is_answered = True
        if not running.background:
            self._running.pop(running.call.id, None)
        return bool(running.background)

    def _job(self, call: Call, facts: JobFacts) -> object:
        async def report(fraction: float, note: str | None = None) -> None:
            self._channel.send(Progress(facts.id, float(fraction), note))

        return import_module("basalt.jobs").Job(
            id=facts.id,
            name=facts.name,
            queue=facts.queue,
            payload=orjson.loads(call.body),
            attempt=facts.attempt,
            max_attempts=facts.max_attempts,
            key=facts.key,
            request_id=call.request_id or None,
            created_at=datetime.fromtimestamp(facts.created_at, UTC),
            report=report,
        )


class _Running:
    """A call, and how much of its answer the gateway has room for."""

    __slots__ = ("_credit", "_waiter", "background", "call", "is_answered", "is_cancelled", "task")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.task: asyncio.Task[None]
        self.background: set[asyncio.Task[object]] = set()
        self.is_answered = False
        self.is_cancelled = False
        self._credit = WINDOW_BYTES
        self._waiter: asyncio.Future[None] | None = None

    def cancel(self, *, everything: bool) -> None:
        self.is_cancelled = True
        self.task.cancel()
        if everything:
            for task in self.background:
                task.cancel()

    def grant(self, size: int) -> None:
        self._credit += size
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def spend(self, size: int) -> None:
        while self._credit < size:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._credit -= size


async def _guard(work: Coroutine[Any, Any, object]) -> object:
    """What goes wrong in the background is told by the log, under the request's id."""
    with suppress(asyncio.CancelledError):
        try:
            return await work
        except asyncio.CancelledError:
            print("work in the background was cancelled")
            raise
        except BaseException as error:
            print("work in the background failed:", "".join(traceback.format_exception(error)), sep="\n")
    return None
