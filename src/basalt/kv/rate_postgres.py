"""Rate limits in the database: `basalt.use_rates` over an unlogged table, one statement for a request."""

from collections.abc import Sequence

import orjson

from basalt.errors import BasaltError
from basalt.kv.gcra import RateStoreError, Standing, Use
from basalt.kv.late_lanes import LateLanes
from basalt.postgres import PostgresError, Query

PURGE_BATCH = 1000


class PostgresRates:
    """A `RateStore`. `conninfo` logs in as `authenticator`. Connects with the first use."""

    def __init__(self, conninfo: str) -> None:
        self._lanes = LateLanes(conninfo, name="rates")

    USE = "select is_over, full_in_s from basalt.use_rates($1, $2)"

    async def use(self, uses: Sequence[Use], *, peek: bool = False) -> Sequence[Standing]:
        wanted = [
            {
                "key": one.key,
                "interval_s": one.quota.interval_s,
                "most_s": one.quota.most_s,
                "binding": one.binding,
            }
            for one in uses
        ]
        [result] = await self._run(Query(self.USE, (orjson.dumps(wanted), b"t" if peek else b"f")))
        return [Standing(is_over == b"t", float(full_in_s or 0)) for is_over, full_in_s in result]

    PURGE = "select basalt.purge_rates($1)"

    async def purge(self) -> int:
        """Remove buckets that are full; how many."""
        total = 0
        while True:
            [result] = await self._run(Query(self.PURGE, (b"%d" % PURGE_BATCH,)))
            removed = int(result[0][0] or 0)
            total += removed
            if removed < PURGE_BATCH:
                return total

    async def close(self) -> None:
        await self._lanes.close()

    async def _run(self, query: Query) -> list[list[tuple[bytes | None, ...]]]:
        try:
            return [result.rows for result in await self._lanes.execute([query])]
        except (BasaltError, PostgresError) as exc:
            raise RateStoreError(str(exc)) from exc
