"""`context.queue`: work for later. Enqueueing is a privilege of the project's own code, so it is done as
`service_role` whoever calls the function."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from basalt.functions.database import Database, Transaction

ENQUEUE = """
select basalt.enqueue(
    %(name)s, %(payload)s::jsonb, queue => %(queue)s, priority => %(priority)s,
    delay => make_interval(secs => %(delay_s)s), run_at => %(run_at)s, key => %(key)s,
    max_attempts => %(max_attempts)s) as id
"""
JOB_STATUS = "select basalt.job_status(%(id)s) as status"
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
    """`context.notify`: messages by the project's own providers, sent by the worker."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

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
