"""Removes what has expired: cached values in the database, whichever engine the cache has, idempotency keys, and full
buckets of rate limits."""

import asyncio

from basalt import observe
from basalt.config import Settings
from basalt.errors import BasaltError
from basalt.kv.gcra import RateStoreError
from basalt.kv.idempotency_keys import IdempotencyKeys
from basalt.kv.postgres import PostgresEngine
from basalt.kv.rate_postgres import PostgresRates
from basalt.postgres import DatabaseAccess, PostgresError
from basalt.waiting import wait_within


class ExpiryPurger:
    """A part of the worker. Any number may run at once: each passes over the rows that another one has locked."""

    name = "expiry"

    def __init__(self, settings: Settings, access: DatabaseAccess) -> None:
        self._interval_s = settings.basalt.cache.purge_interval_s
        self._counts_rates = settings.basalt.rate_limit.store == "postgres"
        self._conninfo = access.conninfo("authenticator")

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            await self._purge()
            await wait_within(stopping, self._interval_s)

    async def _purge(self) -> None:
        """By connections of its own that end with it: it is minutes until the next time."""
        values, keys = PostgresEngine(self._conninfo), IdempotencyKeys(self._conninfo)
        rates = PostgresRates(self._conninfo)
        try:
            await values.open()
            observe.event(
                "expired_purged",
                level="debug",
                values=await values.purge(),
                idempotency_keys=await keys.purge(),
                rates=await rates.purge() if self._counts_rates else 0,
            )
        except (BasaltError, PostgresError, RateStoreError) as error:
            # The database is away, or the project has a table of its own: the next time may be better.
            observe.event("expired_not_purged", level="warning", reason=str(error))
        finally:
            await values.close()
            await keys.close()
            await rates.close()
