"""First answers by idempotency key, in `basalt.idempotency_keys`: who may carry out a request, and what came of it.

A key is claimed in a transaction of its own. The write that it belongs to records itself with the key in one
transaction (`basalt.start_keyed_write`, which REST sends along), so that after a crash it is known whether it took
place.
"""

from dataclasses import dataclass
from typing import Literal

import orjson

from basalt.kv.late_lanes import LateLanes
from basalt.postgres import Query, Result

LEASE_S = 30.0
PURGE_BATCH = 500

KeyState = Literal["claimed", "in_progress", "unknown", "unkept", "reused"]

# A claim that is lost in a crash of PostgreSQL was lost before its write: that one's commit makes both durable.
RELAX_COMMIT = Query("select set_config('synchronous_commit', 'off', true)")


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class IdempotencyKeys:
    """`conninfo` logs in as `authenticator`. Connects with the first claim."""

    def __init__(self, conninfo: str) -> None:
        self._lanes = LateLanes(conninfo, name="idempotency")

    CLAIM = "select outcome, status, headers, body from basalt.claim_idempotency_key($1, $2, $3, $4, $5, $6)"

    async def claim(
        self, key: bytes, request: bytes, holder: str, *, is_recorded: bool, keep_s: float
    ) -> KeyState | KeptAnswer:
        """Take the key, or learn what has become of it. `request` is a hash of what else was asked; `is_recorded` says
        that the work will record itself. The claim is good for LEASE_S."""
        params = (
            _bytea(key),
            _bytea(request),
            holder.encode(),
            b"t" if is_recorded else b"f",
            _number(LEASE_S),
            _number(keep_s),
        )
        results = await self._run(RELAX_COMMIT, Query(self.CLAIM, params))
        return _read_claim(results[1])

    EXTEND = "select basalt.extend_idempotency_key($1, $2, $3)"

    async def extend(self, key: bytes, holder: str) -> None:
        await self._run(Query(self.EXTEND, (_bytea(key), holder.encode(), _number(LEASE_S))))

    SETTLE = "select basalt.settle_idempotency_key($1, $2, $3, $4, $5, $6)"

    async def settle(self, key: bytes, holder: str, answer: KeptAnswer | None, *, keep_s: float) -> None:
        """Keep the answer; None says that there was one and that it is not kept."""
        kept: tuple[bytes | None, ...] = (None, None, None)
        if answer is not None:
            kept = (b"%d" % answer.status, _render_headers(answer.headers), _bytea(answer.body))
        await self._run(Query(self.SETTLE, (_bytea(key), holder.encode(), *kept, _number(keep_s))))

    FREE = "select basalt.free_idempotency_key($1, $2, $3)"

    async def free(self, key: bytes, holder: str, *, is_recorded: bool) -> None:
        """Forget the key of a request that failed. Where its write has been committed all the same, it stays."""
        await self._run(
            Query(self.FREE, (_bytea(key), holder.encode(), b"t" if is_recorded else b"f")),
        )

    PURGE = "select basalt.purge_idempotency_keys($1)"

    async def purge(self) -> int:
        """Remove keys whose time is over; how many."""
        total = 0
        while True:
            results = await self._run(Query(self.PURGE, (b"%d" % PURGE_BATCH,)))
            removed = int(results[0].rows[0][0] or 0)
            total += removed
            if removed < PURGE_BATCH:
                return total

    async def close(self) -> None:
        await self._lanes.close()

    async def _run(self, *queries: Query) -> list[Result]:
        return await self._lanes.execute(queries)


def _read_claim(result: Result) -> KeyState | KeptAnswer:
    outcome, status, headers, body = result.rows[0]
    match (outcome or b"").decode():
        case "answered":
            return KeptAnswer(
                int(status or 0),
                [
                    (name.encode("latin-1"), value.encode("latin-1"))
                    for name, value in orjson.loads(headers or b"[]")
                ],
                bytes.fromhex((body or b"")[2:].decode("ascii")),
            )
        case "claimed" | "in_progress" | "unknown" | "unkept" | "reused" as state:
            return state
        case other:
            raise AssertionError(f"claim_idempotency_key answered {other!r}")


def _render_headers(headers: list[tuple[bytes, bytes]]) -> bytes:
    return orjson.dumps([(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers])


def _bytea(value: bytes) -> bytes:
    return b"\\x" + value.hex().encode()


def _number(value: float) -> bytes:
    return repr(value).encode()
