"""The job `basalt.retention`: one run of a policy, by the worker."""

import asyncio
import time
from collections.abc import Mapping
from threading import Event
from typing import Final

from psycopg.types.json import Jsonb

from basalt import observe
from basalt.config import RetentionSettings, Settings
from basalt.errors import BasaltError
from basalt.jobs import DiscardJob, Handler, Job
from basalt.postgres import DatabaseAccess
from basalt.project.retention.running import connect, find_policy, perform

# Less than a queue's `timeout`; what is left is another job's, which follows at once.
LIMIT_S: Final = 120.0
GO_ON: Final = "select basalt.enqueue('basalt.retention', %s)"


class RetentionJobs:
    """Opens a connection for each run: it is a night until the next one."""

    def __init__(self, settings: Settings, access: DatabaseAccess) -> None:
        self._settings = settings
        self._access = access

    @property
    def handlers(self) -> Mapping[str, Handler]:
        return {"basalt.retention": self._run}

    async def _run(self, job: Job) -> object:
        name = job.payload.get("policy") if isinstance(job.payload, dict) else None
        if not isinstance(name, str):
            raise DiscardJob("the payload names no policy")
        try:
            policy = find_policy(self._settings, name)
        except BasaltError as error:
            raise DiscardJob(error.message) from error
        stopping = Event()
        try:
            count, is_done = await asyncio.to_thread(self._perform, name, policy, stopping)
        finally:
            stopping.set()  # who is cancelled leaves the thread behind: it ends with the batch
        observe.event("retention_ran", policy=name, rows=count, is_done=is_done)
        return {"rows": count}

    def _perform(self, name: str, policy: RetentionSettings, stopping: Event) -> tuple[int, bool]:
        deadline = time.monotonic() + LIMIT_S
        with connect(self._access) as connection:
            count, is_done = perform(
                connection,
                name,
                policy,
                may_go_on=lambda: time.monotonic() < deadline and not stopping.is_set(),
            )
            if not is_done and not stopping.is_set():  # else the job itself comes again
                connection.execute(GO_ON, [Jsonb({"policy": name})])
            return count, is_done
