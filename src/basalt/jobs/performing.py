"""Jobs in hand: each runs in a task of its own, whatever it does costs only itself."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import orjson

from basalt import observe
from basalt.config import QueueSettings
from basalt.jobs.claims import Claimed
from basalt.jobs.job import DiscardJob, Handlers, Job
from basalt.jobs.outcome import (
    Cancelled,
    Died,
    Finished,
    GivenBack,
    Outcome,
    Retried,
    clean,
    plan_after_failure,
    render_result,
)
from basalt.jobs.settlement import Settled

NOTE_CHARS = 500

JOBS = observe.Counter("basalt_jobs_total", "Attempts of this worker.", ["queue", "outcome"])
SECONDS = observe.Histogram("basalt_job_seconds", "Time of an attempt.", ["queue"])
RUNNING = observe.Gauge("basalt_jobs_running", "Jobs in this worker's hands.")

OUTCOMES: Mapping[type, str] = {
    Finished: "finished",
    Retried: "retried",
    Died: "dead",
    Cancelled: "cancelled",
    GivenBack: "given_back",
}

StopReason = Literal["cancelled", "lost", "stopping"]


@dataclass(slots=True, eq=False)
class Held:
    """A job in hand: it runs, or has no task yet and waits for its turn. `stop` says why its task was cancelled, where
    it was us. `renewed_at` is the loop's time."""

    job: Claimed
    renewed_at: float
    task: "asyncio.Task[None] | None" = None
    has_begun: bool = False
    stop: StopReason | None = None
    progress: tuple[float, str | None] | None = None

    async def report(self, fraction: float, note: str | None = None) -> None:
        """What `Job.report` is: the last one within a moment is written down."""
        shown = None if note is None else clean(str(note))[:NOTE_CHARS]
        self.progress = (min(max(float(fraction), 0.0), 1.0), shown)


class Performer:
    """Runs `concurrency` jobs at once; what is started beyond that waits for its turn. `on_end` takes every job that
    ended here and is still ours, with its outcome."""

    def __init__(
        self,
        handlers: Handlers,
        concurrency: int,
        policy_of: Callable[[str], QueueSettings],
        on_end: Callable[[Settled], None],
    ) -> None:
        self._handlers = handlers
        self._concurrency = concurrency
        self._policy_of = policy_of
        self._on_end = on_end
        self._waiting: deque[Held] = deque()
        self._running = 0
        self.held: dict[int, Held] = {}

    def start(self, job: Claimed) -> None:
        if job.is_cancelled:
            self._on_end(Settled(job, Cancelled()))
            return
        held = Held(job, asyncio.get_running_loop().time())
        self.held[job.id] = held
        RUNNING.set(len(self.held))
        self._waiting.append(held)
        self._fill()

    def stop(self, job_id: int, reason: StopReason) -> None:
        """Cancel the task of a job, where it is in hand."""
        held = self.held.get(job_id)
        if held is None:
            return
        held.stop = held.stop or reason
        if held.task is None:
            self._waiting.remove(held)
            self._end(held, _outcome_of_stop(held.stop))
        elif held.has_begun:  # before that its coroutine would not even learn of it
            held.task.cancel()

    def give_back_waiting(self) -> None:
        """Whose turn has not come."""
        for held in list(self._waiting):
            self.stop(held.job.id, "stopping")

    async def wait_all(self) -> None:
        """Until nothing is in hand."""
        while self.held:
            await asyncio.wait([held.task for held in self.held.values() if held.task is not None])

    def _fill(self) -> None:
        while self._waiting and self._running < self._concurrency:
            held = self._waiting.popleft()
            self._running += 1
            held.task = asyncio.get_running_loop().create_task(self._perform(held))

    def _end(self, held: Held, outcome: Outcome | None) -> None:
        del self.held[held.job.id]
        RUNNING.set(len(self.held))
        if outcome is not None:
            JOBS.add(1, held.job.queue, OUTCOMES[type(outcome)])
            _tell(held.job, outcome)
            self._on_end(Settled(held.job, outcome))

    async def _perform(self, held: Held) -> None:
        held.has_begun = True
        observe.request_id.set(held.job.request_id or "")
        observe.accept_trace(held.job.traceparent)
        started = perf_counter()
        with observe.span(
            f"job {held.job.name}",
            kind="consumer",
            parent=held.job.traceparent or "",
            attributes={"messaging.destination.name": held.job.queue, "basalt.job": held.job.id},
        ) as span:
            outcome = await self._attempt(held)
            if isinstance(outcome, Retried | Died):
                span.fail(outcome.reason)
        SECONDS.note(perf_counter() - started, held.job.queue)
        self._running -= 1
        self._end(held, outcome)
        self._fill()

    async def _attempt(self, held: Held) -> Outcome | None:
        """None where the job is another worker's by now."""
        job = held.job
        policy = self._policy_of(job.queue)
        max_attempts = job.max_attempts or policy.max_attempts
        limit = asyncio.timeout(policy.timeout_s)
        try:
            if held.stop is not None:
                raise asyncio.CancelledError
            handler = self._handlers.find(job.name)
            if handler is None:
                raise DiscardJob(f"Nothing performs jobs named {job.name}")
            shown = Job(
                job.id,
                job.name,
                job.queue,
                orjson.loads(job.payload),
                job.attempt,
                max_attempts,
                job.key,
                job.request_id,
                job.created_at,
                held.report,
            )
            async with limit:
                return Finished(render_result(await handler(shown)))
        except asyncio.CancelledError as error:
            if held.stop is not None:
                return _outcome_of_stop(held.stop)
            return plan_after_failure(error, job.attempt, max_attempts, policy)  # it cancelled itself
        except TimeoutError as error:
            cause = TimeoutError(f"it took longer than {policy.timeout_s:g} s") if limit.expired() else error
            return plan_after_failure(cause, job.attempt, max_attempts, policy)
        except BaseException as error:  # SystemExit would end the worker and every job in it
            return plan_after_failure(error, job.attempt, max_attempts, policy)


def _outcome_of_stop(reason: StopReason) -> Outcome | None:
    match reason:
        case "cancelled":
            return Cancelled()
        case "stopping":
            return GivenBack()
        case "lost":
            return None


def _tell(job: Claimed, outcome: Outcome) -> None:
    match outcome:
        case Retried(reason, delay_s):
            observe.event(
                "job_failed",
                level="warning",
                job=job.id,
                job_name=job.name,
                attempt=job.attempt,
                again_in_s=round(delay_s, 3),
                reason=reason,
            )
        case Died(reason):
            observe.event(
                "job_died", level="error", job=job.id, job_name=job.name, attempt=job.attempt, reason=reason
            )
        case Finished() | Cancelled() | GivenBack():
            pass
