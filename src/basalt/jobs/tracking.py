"""`basalt.track`: an event for Mixpanel as a job, so that what happened is told however long Mixpanel is away.

Jobs that are performed at the same time share a request. Where everything stays in the Inbox nothing is sent, and the
job's result says so; where there is a real environment without Mixpanel, nobody performs such jobs, and they become
dead letters instead of vanishing.
"""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Final
from uuid import UUID, uuid5

import msgspec

from basalt.config import Settings
from basalt.http import OutgoingClient
from basalt.jobs.job import DiscardJob, Handler, Job, RetryJob
from basalt.senders import MixpanelSender, Outcome, TrackedEvent

NAME: Final = "basalt.track"
NAMESPACE: Final = UUID("0d1f3f2c-6f0b-5a53-9c56-2c1b1c7e4a10")
LINGER_S: Final = 0.02  # in which jobs that were claimed together meet
MOST_SECONDS: Final = 100_000_000_000  # beyond that a time is in milliseconds


class TrackPayload(msgspec.Struct, forbid_unknown_fields=True):
    """What a `basalt.track` job carries; `time` in seconds or milliseconds since the epoch, by default the job's."""

    event: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    distinct_id: Annotated[str, msgspec.Meta(max_length=255)]
    properties: dict[str, Any] = {}
    time: float | None = None


class TrackJobs:
    """Close it after its handlers are called for the last time."""

    def __init__(self, settings: Settings) -> None:
        notify = settings.notify
        self._project_id = settings.project_id
        self._is_inbox = notify.environment == "inbox"
        token = notify.credentials.mixpanel.token
        self._sender = MixpanelSender(notify.credentials.mixpanel, OutgoingClient()) if token else None
        self._waiting: list[tuple[TrackedEvent, asyncio.Future[Outcome]]] = []
        self._sending: asyncio.Task[None] | None = None

    @property
    def handlers(self) -> Mapping[str, Handler]:
        return {NAME: self._track} if self._sender is not None or self._is_inbox else {}

    async def close(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        if self._sender is not None:
            await self._sender.close()

    async def _track(self, job: Job) -> object:
        try:
            payload = msgspec.convert(job.payload, TrackPayload)
        except msgspec.ValidationError as exc:
            raise DiscardJob(f"the payload is not valid: {exc}") from exc
        if self._sender is None:
            return {"skipped": "everything stays in the Inbox"}
        outcome = await self._send(
            TrackedEvent(
                payload.event,
                payload.distinct_id,
                find_time_ms(payload.time, job),
                str(uuid5(NAMESPACE, f"{self._project_id}/{job.key or job.id}")),
                payload.properties,
            )
        )
        match outcome.verdict:
            case "accepted":
                return {"tracked": payload.event}
            case "refused":
                raise DiscardJob(f"Mixpanel refused the event: {outcome.response.get('message')}")
            case _:
                raise RetryJob(f"Mixpanel: {outcome.error_code}", delay_s=outcome.retry_after_s)

    async def _send(self, event: TrackedEvent) -> Outcome:
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, answer))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_waiting())
        return await answer

    async def _send_waiting(self) -> None:
        """What comes while a request is on its way is the next request."""
        assert self._sender is not None
        await asyncio.sleep(LINGER_S)
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                outcomes = await self._sender.track([event for event, _ in batch])
            except Exception as exc:  # whoever waits for it is a job, which is tried again
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(exc)
                continue
            for (_, answer), outcome in zip(batch, outcomes, strict=True):
                if not answer.done():
                    answer.set_result(outcome)


def find_time_ms(time: float | None, job: Job) -> int:
    """The same in every attempt, or Mixpanel would count each."""
    if time is None:
        return int(job.created_at.timestamp() * 1000)
    return int(time if time > MOST_SECONDS else time * 1000)
