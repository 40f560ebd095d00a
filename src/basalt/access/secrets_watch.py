"""Keeps a process's copy of the stored secrets as the database has them: loads them when they are first asked for and
after each notification of a change."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import psycopg

from basalt import observe
from basalt.access.sealing import Sealer
from basalt.access.secrets import load_secrets
from basalt.errors import BasaltError

CHANNEL = "basalt_secrets"
SETTLE_S = 0.1  # several changes at once are one
BACK_OFF_S = 1.0
CONNECT_LIMIT_S = 10


class SecretsWatch:
    """`load_sealer` is asked at every load, because a rotation adds a key. `on_change` gets the secrets whenever
    their values are others than before."""

    def __init__(
        self,
        conninfo: str,
        load_sealer: Callable[[], Sealer],
        *,
        on_change: Callable[[Mapping[str, str]], None],
    ) -> None:
        self._conninfo = conninfo
        self._load_sealer = load_sealer
        self._on_change = on_change
        self._values: dict[str, str] | None = None
        self._loading = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def ensure_loaded(self) -> None:
        """Returns at once when the secrets are known. Raises BasaltError when they cannot be had; nobody should go on
        without them."""
        if self._values is not None:
            return
        async with self._loading:
            if self._values is None:
                await self._load()
            if self._task is None:
                self._task = asyncio.create_task(self._watch())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _load(self) -> None:
        try:
            values = await asyncio.to_thread(self._read)
        except (psycopg.Error, OSError) as exc:
            raise BasaltError("secrets_unavailable", 503, "The project's secrets cannot be read") from exc
        if values != self._values:
            self._on_change(values)
            self._values = values

    def _read(self) -> dict[str, str]:
        return load_secrets(self._conninfo, self._load_sealer())

    async def _watch(self) -> None:
        """Listens, and loads after each notification and each gap in listening."""
        while True:
            try:
                async with await self._listen() as listener:
                    await self._reload()
                    async for _ in listener.notifies():
                        await asyncio.sleep(SETTLE_S)
                        await self._reload()
            except (psycopg.Error, OSError) as error:
                observe.event("secrets_listener_lost", level="warning", reason=str(error).strip())
            await asyncio.sleep(BACK_OFF_S)

    async def _reload(self) -> None:
        """What cannot be opened is not served from the copy of before: the next call says why."""
        async with self._loading:
            try:
                await self._load()
            except BasaltError as error:
                self._values = None
                observe.event("secrets_unavailable", level="error", reason=error.message)

    async def _listen(self) -> "psycopg.AsyncConnection[tuple[object, ...]]":
        connection = await psycopg.AsyncConnection.connect(
            self._conninfo,
            autocommit=True,
            application_name="basalt/secrets",
            connect_timeout=CONNECT_LIMIT_S,
        )
        await connection.execute(f"listen {CHANNEL}")
        return connection
