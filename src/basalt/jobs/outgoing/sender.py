"""Sends the requests that SQL asked for."""

import asyncio
from uuid import uuid4

from basalt.config import Settings
from basalt.http import Resolve, WireClient
from basalt.jobs.outgoing.claiming import Claims
from basalt.jobs.outgoing.own_api import find_own_api
from basalt.jobs.outgoing.sending import Sending
from basalt.jobs.outgoing.settling import Settlement
from basalt.jobs.outgoing.upkeep import Upkeep
from basalt.jobs.outgoing.wakeup import Wakeup
from basalt.postgres import DatabaseAccess, open_pool

CONNECTIONS = 4


class RequestSender:
    """`resolve` takes the place of the system's resolver, for whoever wants to say where names lead."""

    name = "requests"

    def __init__(self, settings: Settings, access: DatabaseAccess, *, resolve: Resolve | None = None) -> None:
        self._settings = settings
        self._own_api = find_own_api(settings)
        # As the project's own administrator: triggers on the answers run with its rights, not with a superuser's.
        self._conninfo = access.conninfo("postgres")
        self._resolve = resolve

    async def run(self, stopping: asyncio.Event) -> None:
        webhooks, worker = self._settings.basalt.webhooks, self._settings.basalt.worker
        worker_id = uuid4()
        client = WireClient(self._own_api.guard(allow_private=webhooks.allow_private), resolve=self._resolve)
        pool = open_pool(self._conninfo, min_size=1, max_size=CONNECTIONS, name="outgoing")
        await pool.open()
        sending = Sending(
            webhooks,
            self._own_api,
            client,
            Claims(pool, worker_id, worker.lease_s),
            Settlement(pool, worker_id),
            Upkeep(pool, webhooks),
            Wakeup(pool, self._conninfo, poll_interval_s=worker.poll_interval_s),
        )
        try:
            await sending.run(stopping)
        finally:
            await client.close()
            await pool.close()
