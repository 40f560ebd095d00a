"""The engine's connections, and what it does when the database is away: wait, and go on."""

import asyncio
import random
from collections.abc import Iterable, Sequence

from basalt import observe
from basalt.postgres import DatabaseAccess, LanePool, LanesUnavailable, PostgresError, Query, Result

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
TRANSIENT_CLASSES = (
    "08",
    "40",
    "53",
    "55",
    "57",
)  # connection, rollback, resources, object state, operator

# The statistics of a queue are wrong at any time. What reads it does so by its index, and is planned once.
BY_INDEX = Query(
    "select set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), "
    "set_config('enable_sort', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true)"
)


class JobsDatabase:
    """Logs in as the owner of Basalt's own tables, or as another `role`; at most so many `connections`, opened as they
    are needed."""

    def __init__(
        self, access: DatabaseAccess, connections: int, *, role: str = "supabase_admin", name: str = "jobs"
    ) -> None:
        self._lanes = LanePool(access.conninfo(role), size=1, spare=connections - 1, name=name)
        self._is_open = False

    async def open(self) -> None:
        """Raises LanesUnavailable."""
        await self._lanes.open()
        self._is_open = True

    async def close(self) -> None:
        if self._is_open:
            await self._lanes.close()

    async def execute(self, queries: Sequence[Query]) -> list[Result]:
        """One flush, one transaction; nothing else waits behind it. Raises what LanePool does."""
        return await self._lanes.execute(queries, own_lane=True)

    async def insist(self, queries: Sequence[Query]) -> list[Result]:
        """The same, over and over while the database is away: for what may be done twice."""
        pauses = Pauses()
        while True:
            try:
                return await self.execute(queries)
            except (LanesUnavailable, PostgresError) as error:
                if not is_transient(error):
                    raise
                observe.event("jobs_database_away", level="debug", reason=str(error))
            await pauses.wait()


class Pauses:
    """Between attempts to reach the database."""

    def __init__(self) -> None:
        self._pause_s = FIRST_PAUSE_S

    async def wait(self) -> None:
        await asyncio.sleep(self._pause_s * random.uniform(0.5, 1.0))  # noqa: S311
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)


def is_transient(error: LanesUnavailable | PostgresError) -> bool:
    """Whether the same may succeed later."""
    return (
        isinstance(error, LanesUnavailable) or error.is_fatal or error.sqlstate.startswith(TRANSIENT_CLASSES)
    )


def array(values: Iterable[int]) -> bytes:
    """An array of numbers as PostgreSQL reads it.

    >>> array([1, 2])
    b'{1,2}'
    """
    return b"{%s}" % b",".join([b"%d" % value for value in values])


def text_array(values: Iterable[str]) -> bytes:
    r"""
    >>> text_array(["mail", 'a "b"\\c'])
    b'{"mail","a \\"b\\"\\\\c"}'
    """
    quoted = ['"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values]
    return f"{{{','.join(quoted)}}}".encode()
