"""Jobs that functions of the project perform, in processes of the worker's own.

A function with `perform(job, context)` gets the job; another one is called by POST with the payload as JSON, and its
status tells how it went.
"""

import asyncio

import orjson

from basalt import observe
from basalt.access import ProjectKeys
from basalt.config import Settings
from basalt.functions.answers import CANCELLED, DISCARD_JOB, RETRY_JOB
from basalt.functions.context import SERVICE_CLAIMS
from basalt.functions.database import SERVICE_ROLE
from basalt.functions.environment import worker_url
from basalt.functions.errors import FunctionError
from basalt.functions.frames import Call, Failure, JobFacts, Progress
from basalt.functions.function_process import FunctionAnswer
from basalt.functions.pool import FunctionPool
from basalt.jobs import DiscardJob, Job, RetryJob
from basalt.postgres import DatabaseAccess

RETRY_STATUSES = frozenset({429, 503})
MAX_RESULT_BYTES = 64 * 1024
MAX_REASON_CHARS = 500


class JobPerformer:
    """`perform` is the handler of every job whose name is a function's."""

    def __init__(self, settings: Settings, access: DatabaseAccess, keys: ProjectKeys) -> None:
        self._settings = settings
        self._jobs: dict[int, Job] = {}
        self._pool = FunctionPool(
            settings, access, keys, api_url=worker_url(settings), on_progress=self._report
        )
        self._reports: set[object] = set()

    async def open(self) -> None:
        self._pool.open()

    async def close(self) -> None:
        await self._pool.close(drain_s=self._settings.basalt.worker.drain_timeout_s)

    async def perform(self, job: Job) -> object:
        """What the function returned, where that is JSON of moderate size. Raises RetryJob, DiscardJob, and
        FunctionError for a failed attempt."""
        function = self._pool.find(job.name)
        if function is None:
            raise DiscardJob(f"There is no function {job.name}")
        self._jobs[job.id] = job
        timeout_s = self._settings.basalt.queue(job.queue).timeout_s
        try:
            answer = await self._pool.call(function, build_job_call(job), timeout_s=timeout_s)
            return await read_result(job.name, answer)
        finally:
            self._jobs.pop(job.id, None)

    def _report(self, progress: Progress) -> None:
        """The function does not wait for it; a job that has ended has none."""
        job = self._jobs.get(progress.job_id)
        if job is not None:
            task = asyncio.ensure_future(job.report(min(max(progress.fraction, 0.0), 1.0), progress.note))
            self._reports.add(task)
            task.add_done_callback(self._reports.discard)


def build_job_call(job: Job) -> Call:
    return Call(
        id=0,
        method="POST",
        path=f"/{job.name}",
        query_string="",
        headers={
            "content-type": "application/json",
            "x-job-id": str(job.id),
            "x-job-attempt": str(job.attempt),
            "x-request-id": job.request_id or "",
            **_trace_headers(),
        },
        body=orjson.dumps(job.payload),
        request_id=job.request_id or f"job-{job.id}",
        role=SERVICE_ROLE,
        claims_json=SERVICE_CLAIMS.encode(),
        job=JobFacts(
            id=job.id,
            name=job.name,
            queue=job.queue,
            attempt=job.attempt,
            max_attempts=job.max_attempts,
            key=job.key,
            created_at=job.created_at.timestamp(),
        ),
    )


def _trace_headers() -> dict[str, str]:
    traceparent = observe.traceparent()
    return {"traceparent": traceparent} if traceparent else {}


async def read_result(name: str, answer: FunctionAnswer | Failure) -> object:
    """Raises RetryJob, DiscardJob, or FunctionError with the reason."""
    if isinstance(answer, Failure):
        raise _failed(name, answer)
    body = await _read(answer)
    if answer.status >= 400:
        reason = f"{name} answered {answer.status}: {body.decode('utf-8', 'replace')[:MAX_REASON_CHARS]}"
        delay_s = _retry_after_s(answer.headers)
        if answer.status in RETRY_STATUSES and delay_s is not None:
            raise RetryJob(reason, delay_s=delay_s)
        raise FunctionError("JOB_FAILED", reason, status=answer.status)
    try:
        return orjson.loads(body) if body and len(body) <= MAX_RESULT_BYTES else None
    except orjson.JSONDecodeError:
        return None


def _failed(name: str, failure: Failure) -> Exception:
    if failure.code == RETRY_JOB:
        return RetryJob(failure.message, delay_s=failure.details)
    if failure.code == DISCARD_JOB:
        return DiscardJob(failure.message)
    if failure.code == CANCELLED:
        return FunctionError(CANCELLED, f"{name} was cancelled", status=500)
    delay_s = _retry_after_s(failure.headers)
    if failure.status in RETRY_STATUSES and delay_s is not None:
        return RetryJob(f"{failure.code}: {failure.message}", delay_s=delay_s)
    reason = failure.trace.strip().splitlines()[-1] if failure.trace else failure.message
    return FunctionError(failure.code, f"{failure.code}: {reason}"[:MAX_REASON_CHARS], status=failure.status)


async def _read(answer: FunctionAnswer) -> bytes:
    """As much as a result or reason may have; the rest is passed over."""
    if isinstance(answer.body, bytes):
        return answer.body
    kept = bytearray()
    async for chunk in answer.body:
        if len(kept) <= MAX_RESULT_BYTES:
            kept += chunk
    return bytes(kept)


def _retry_after_s(headers: list[tuple[str, str]]) -> float | None:
    value = next((value for name, value in headers if name == "retry-after"), "")
    return float(value) if value.isdigit() else None
