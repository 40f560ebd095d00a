"""Keeps the schema cache as the database is: loads it at start and after a `notify`, and looks once before an
unknown name is refused. While it loads, the old one serves.
"""

import asyncio
import contextlib
from collections.abc import Callable

import psycopg

from basalt import observe
from basalt.config import RestSettings
from basalt.postgres import SchemaCache, load_schema_cache

SETTLE_S = 0.05  # a migration sends many notifications
BACK_OFF_S = 1.0
CONNECT_LIMIT_S = 5

# Every DDL leaves new rows in one of these. Cheap enough to ask before each refusal, as callers that wait share one.
FINGERPRINT = """
select concat_ws('/',
    (select max(xmin::text::bigint) || ' ' || count(*) from pg_catalog.pg_class),
    (select max(xmin::text::bigint) from pg_catalog.pg_attribute where attnum > 0),
    (select max(xmin::text::bigint) || ' ' || count(*) from pg_catalog.pg_proc),
    (select max(xmin::text::bigint) || ' ' || count(*) from pg_catalog.pg_constraint),
    (select max(xmin::text::bigint) || ' ' || count(*) from pg_catalog.pg_type))
"""

Listener = psycopg.AsyncConnection[tuple[object, ...]]
LoadSettings = Callable[["psycopg.Connection[tuple[object, ...]]"], RestSettings]


class SchemaWatch:
    """`on_change` is called with every new cache and the settings it was loaded by; `load_settings` reads those that
    are kept in the database."""

    def __init__(
        self,
        conninfo: str,
        *,
        load_settings: LoadSettings,
        on_change: Callable[[SchemaCache, RestSettings], None],
    ) -> None:
        self._conninfo = conninfo
        self._load_settings = load_settings
        self._on_change = on_change
        self._fingerprint = ""
        self._loading = asyncio.Lock()
        self._checks_begun = 0
        self._wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, *, channel: str | None) -> None:
        """Listen on `channel`, then load, so that no change falls between. Raises psycopg.Error when the database
        cannot be read."""
        listener = await self._start_to_listen(channel) if channel is not None else None
        try:
            await self.reload()
        except BaseException:
            if listener is not None:
                await listener.close()
            raise
        self._tasks = [asyncio.create_task(self._reload_when_wanted())]
        if channel is not None and listener is not None:
            self._tasks.append(asyncio.create_task(self._listen(channel, listener)))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def want_reload(self) -> None:
        """Something may have changed: load soon, once for all that ask meanwhile, and again for whoever asks later."""
        self._wanted.set()

    async def reload(self) -> None:
        """Load now; concurrent calls load one after the other."""
        async with self._loading:
            await self._load()

    async def recheck(self) -> bool:
        """Whether the database has changed since the cache was loaded; then it was loaded again. A look that began
        after this was called serves this caller too."""
        begun = self._checks_begun
        fingerprint = self._fingerprint
        async with self._loading:
            if self._checks_begun == begun:
                self._checks_begun += 1
                found = await asyncio.to_thread(self._read_fingerprint)
                if found != self._fingerprint:
                    await self._load()
        return self._fingerprint != fingerprint

    async def _load(self) -> None:
        cache, settings, fingerprint = await asyncio.to_thread(self._read)
        self._fingerprint = fingerprint
        self._on_change(cache, settings)

    def _read(self) -> tuple[SchemaCache, RestSettings, str]:
        with self._connect("schema-cache") as connection:
            # before the rest: what happens in between is then seen as a change
            fingerprint = _fingerprint(connection)
            settings = self._load_settings(connection)
            cache = load_schema_cache(
                connection,
                settings.db_schemas,
                settings.db_extra_search_path or (),
                settings.db_hoisted_tx_settings,
            )
        return cache, settings, fingerprint

    def _read_fingerprint(self) -> str:
        with self._connect("schema-cache") as connection:
            return _fingerprint(connection)

    def _connect(self, purpose: str) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(
            self._conninfo,
            application_name=f"basalt/{purpose}",
            connect_timeout=CONNECT_LIMIT_S,
            autocommit=True,
        )

    async def _reload_when_wanted(self) -> None:
        while True:
            await self._wanted.wait()
            await asyncio.sleep(SETTLE_S)
            self._wanted.clear()
            try:
                await self.reload()
            except (psycopg.Error, OSError) as error:
                observe.event("schema_reload_failed", level="warning", reason=str(error).strip())
                self._wanted.set()  # never dropped: the old cache serves until it works
                await asyncio.sleep(BACK_OFF_S)

    async def _listen(self, channel: str, listener: Listener) -> None:
        while True:
            try:
                async with listener:
                    async for _ in listener.notifies():
                        self.want_reload()
            except (psycopg.Error, OSError) as error:
                observe.event("schema_listener_lost", level="warning", reason=str(error).strip())
            listener = await self._listen_again(channel)
            self.want_reload()  # what was said meanwhile was not heard

    async def _listen_again(self, channel: str) -> Listener:
        while True:
            await asyncio.sleep(BACK_OFF_S)
            with contextlib.suppress(psycopg.Error, OSError):
                return await self._start_to_listen(channel)

    async def _start_to_listen(self, channel: str) -> Listener:
        connection = await psycopg.AsyncConnection.connect(
            self._conninfo,
            autocommit=True,
            application_name="basalt/schema-listener",
            connect_timeout=CONNECT_LIMIT_S,
        )
        name = psycopg.sql.Identifier(channel)
        await connection.execute(psycopg.sql.SQL("listen {}").format(name))
        return connection


def _fingerprint(connection: "psycopg.Connection[tuple[object, ...]]") -> str:
    row = connection.execute(FINGERPRINT).fetchone()
    return str(row[0]) if row else ""
