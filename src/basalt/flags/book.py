"""All flags of a project in the memory of a process: loaded with the first question, loaded again when the database
tells of a change, and answered from without a round trip.

While the database is away the flags stay as they were.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime

import psycopg
from psycopg.rows import dict_row

from basalt import observe
from basalt.errors import BasaltError
from basalt.flags.definitions import read_definitions
from basalt.flags.evaluation import Decision, Flag, FlagCaller, decide

CONNECT_LIMIT_S = 10
ANSWER_LIMIT_S = 10.0
BACK_OFF_S = 1.0
SETTLE_S = 0.02  # several changes at once are one
# A connection that is silent may be dead: what was missed is found by then, or ANSWER_LIMIT_S later by a new one.
LOOK_AGAIN_S = 60.0

BECOME = "set role service_role"
LISTEN = "listen basalt_flags"
LOAD = "select flags.definitions() as tree"


class FlagBook:
    """`conninfo` logs in as a role that may become `service_role`."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._flags: Mapping[str, Flag] | None = None
        self._loading = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def ensure_loaded(self) -> None:
        """Returns at once when the flags are known. Raises BasaltError flags_unavailable (503)."""
        if self._flags is not None:
            return
        async with self._loading:
            if self._flags is not None:
                return
            try:
                connection = await self._connect()
            except (psycopg.Error, OSError) as exc:
                raise BasaltError("flags_unavailable", 503, "The feature flags cannot be read") from exc
            self._task = asyncio.create_task(self._follow(connection))

    @property
    def is_loaded(self) -> bool:
        return self._flags is not None

    def decide(self, name: str, caller: FlagCaller) -> Decision | None:
        """What a flag gives; None where there is no such flag. `ensure_loaded` comes first."""
        assert self._flags is not None
        flag = self._flags.get(name)
        return None if flag is None else decide(flag, caller, now=datetime.now(UTC))

    def decide_all(self, caller: FlagCaller) -> dict[str, Decision]:
        assert self._flags is not None
        now = datetime.now(UTC)
        return {name: decide(flag, caller, now=now) for name, flag in self._flags.items()}

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _follow(self, connection: "psycopg.AsyncConnection[dict[str, object]]") -> None:
        """Loads after each notification and each gap in listening, until cancelled: without it no switch would be seen
        any more."""
        while True:
            try:
                async with connection:
                    while True:
                        await _hear(connection)
                        async with asyncio.timeout(ANSWER_LIMIT_S):
                            await self._load(connection)
            except Exception as error:
                reported = _report(error, None)
            connection = await self._connect_again(reported)

    async def _connect_again(self, reported: str) -> "psycopg.AsyncConnection[dict[str, object]]":
        while True:
            await asyncio.sleep(BACK_OFF_S)
            try:
                return await self._connect()
            except Exception as error:
                reported = _report(error, reported)

    async def _connect(self) -> "psycopg.AsyncConnection[dict[str, object]]":
        """It listens before it loads, so that no change is missed."""
        connection = await psycopg.AsyncConnection.connect(
            self._conninfo,
            autocommit=True,
            application_name="basalt/flags",
            connect_timeout=CONNECT_LIMIT_S,
            row_factory=dict_row,
        )
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                await connection.execute(BECOME)
                await connection.execute(LISTEN)
                await self._load(connection)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _load(self, connection: "psycopg.AsyncConnection[dict[str, object]]") -> None:
        row = await (await connection.execute(LOAD)).fetchone()
        assert row is not None
        tree = row["tree"]
        assert isinstance(tree, dict)
        self._flags = read_definitions(tree)


async def _hear(connection: "psycopg.AsyncConnection[dict[str, object]]") -> None:
    """Until something has changed, and what changes with it, or for a while."""
    async for _ in connection.notifies(timeout=LOOK_AGAIN_S, stop_after=1):
        await asyncio.sleep(SETTLE_S)


def _report(error: Exception, reported: str | None) -> str:
    """Once for each reason in a row."""
    reason = str(error).strip() or type(error).__name__
    if reason != reported:
        observe.event("flags_listener_lost", level="warning", reason=reason)
    return reason
