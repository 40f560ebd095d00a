"""`context.queue`: work for later. Enqueueing is a privilege of the project's own code, so it is done as
`service_role` whoever calls the function."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from basalt.functions.database import Database, Transaction

ENQUEUE = """
select basalt.enqueue(
    %(name)s, %(payload)s::jsonb, queue => %(queue)s, priority => %(priority)s,
    delay => make_interval(secs => %(delay_s)s), run_at => %(run_at)s, key => %(key)s,
    max_attempts => %(max_attempts)s) as id
"""
JOB_STATUS = "select basalt.job_status(%(id)s) as status"
ISSUE_EVENT = """
select public.issue_notification(
    %(event_type)s, %(subject_id)s::uuid, %(context)s::jsonb, %(actor_id)s::uuid, %(channels)s::text[],
    %(audience)s::jsonb, %(scheduled_for)s, %(expires_at)s, %(priority)s, %(dedup_key)s)::text as id
"""
CANCEL_JOB = "select basalt.cancel_job(%(id)s) as cancelled"


class Queue:
    """`queues` are the queues of functions whose jobs do not go to `default`."""

    def __init__(self, service_db: Database, queues: Mapping[str, str]) -> None:
        self._db = service_db
        self._queues = queues

    async def enqueue(
        self,
        name: str,
        payload: Any = None,
        *,
        queue: str | None = None,
        delay_s: float = 0,
        run_at: datetime | None = None,
        key: str | None = None,
        priority: int = 5,
        max_attempts: int | None = None,
        transaction: Transaction | None = None,
    ) -> int:
        """Have the function `name` perform a job; its id, that of the earlier job where there is one with the same name
        and `key`. In a transaction the job exists when that is committed. `priority` is from 0, which is first, to 9.
        Raises FunctionError QUEUE_FULL (429)."""
        parameters = {
            "name": name,
            "payload": orjson.dumps({} if payload is None else payload, default=str).decode(),
            "queue": queue or self._queues.get(name),
            "priority": priority,
            "delay_s": delay_s,
            "run_at": run_at,
            "key": key,
            "max_attempts": max_attempts,
        }
        if transaction is not None:
            return int(await transaction.fetch_value_as_service(ENQUEUE, parameters))
        return int(await self._db.fetch_value(ENQUEUE, parameters))

    async def status(self, job_id: int) -> dict[str, Any] | None:
        """Where a job stands: `id`, `name`, `state` (`scheduled`, `ready`, `running`, `dead`, and where the queue keeps
        them `finished`, `cancelled`), `attempt`, `progress` from 0 to 1 and more. None when it is not known."""
        status: dict[str, Any] | None = await self._db.fetch_value(JOB_STATUS, {"id": job_id})
        return status

    async def cancel(self, job_id: int) -> bool:
        """Take a job back, or ask its handler to stop. False when there is nothing left to cancel."""
        return bool(await self._db.fetch_value(CANCEL_JOB, {"id": job_id}))


class Notify:
    """`context.notify`: messages by the project's own providers, sent by the worker, and events for the notification
    engine."""

    def __init__(self, queue: Queue, service_db: Database) -> None:
        self._queue = queue
        self._db = service_db

    async def issue(
        self,
        event_type: str,
        *,
        subject_id: UUID | str | None = None,
        context: Mapping[str, Any] | None = None,
        actor_id: UUID | str | None = None,
        channels: Sequence[str] | None = None,
        user_ids: Sequence[UUID | str] | None = None,
        audience: Mapping[str, Any] | None = None,
        scheduled_for: datetime | None = None,
        expires_at: datetime | None = None,
        priority: int = 5,
        dedup_key: str | None = None,
        transaction: Transaction | None = None,
    ) -> str:
        """Say that something happened, so that `subject_id`, these `user_ids` or an `audience` are told, each by the
        ways they want; the event's id, that of the earlier one with the same `dedup_key`. In a transaction the event
        exists when that is committed. What is wrong with it is FunctionError REQUEST_REFUSED (400, 404, 413); a full
        queue is QUEUE_FULL (429)."""
        if user_ids is not None and audience is not None:
            raise ValueError("user_ids or an audience, one of them")
        if user_ids is not None:
            audience = {"user_ids": [str(user_id) for user_id in user_ids]}
        parameters = {
            "event_type": event_type,
            "subject_id": None if subject_id is None else str(subject_id),
            "context": orjson.dumps(dict(context or {}), default=str).decode(),
            "actor_id": None if actor_id is None else str(actor_id),
            "channels": None if channels is None else list(channels),
            "audience": None if audience is None else orjson.dumps(dict(audience), default=str).decode(),
            "scheduled_for": scheduled_for,
            "expires_at": expires_at,
            "priority": priority,
            "dedup_key": dedup_key,
        }
        if transaction is not None:
            return str(await transaction.fetch_value_as_service(ISSUE_EVENT, parameters))
        return str(await self._db.fetch_value(ISSUE_EVENT, parameters))

    async def send_text(
        self, to: str, text: str, *, key: str | None = None, transaction: Transaction | None = None
    ) -> int:
        """A text message to a telephone number; the id of its job."""
        payload = {"to": to, "text": text}
        return await self._queue.enqueue("basalt.text", payload, key=key, transaction=transaction)

    async def send_mail(
        self,
        to: str,
        subject: str,
        *,
        html: str | None = None,
        text: str | None = None,
        key: str | None = None,
        transaction: Transaction | None = None,
    ) -> int:
        """A mail; the id of its job."""
        payload = {"to": to, "subject": subject, "html": html, "text": text}
        return await self._queue.enqueue("basalt.mail", payload, key=key, transaction=transaction)
