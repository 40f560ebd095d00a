"""The cache over either engine: checks what goes in, and lets one caller at a time compute what is missing.

Within a process the callers of one key are one flight: its first one leads, the others take its result. Between
processes the leaders meet at a lease on the key, which is renewed while its holder computes and ends with it. A value
is kept, and given to those who wait, only if the lease was its holder's to the end, so that neither a computer that was
given up nor one that began before a `delete` leaves anything behind.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from basalt import observe
from basalt.errors import BasaltError
from basalt.kv.engine import Claim, Engine
from basalt.kv.entries import check_key, check_ttl, decode_value, encode_value
from basalt.kv.notices import Notices
from basalt.waiting import wait_within

LEASE_S = 10.0
POLL_S = 1.0  # those who wait look again, should they not be told
CLOSE_LIMIT_S = 2.0

Compute = Callable[[], Awaitable[Any]]
Flight = asyncio.Future[bytes | None]


class SharedCache:
    """`lease_s` is the time after which another caller takes over from a process that died."""

    def __init__(self, engine: Engine, *, max_value_bytes: int, lease_s: float = LEASE_S) -> None:
        self._engine = engine
        self._max_value_bytes = max_value_bytes
        self._lease_s = lease_s
        self._notices = Notices(engine)
        self._flights: dict[str, Flight] = {}
        self._frees: set[asyncio.Task[None]] = set()

    async def fetch(self, key: str, default: Any = None) -> Any:
        check_key(key)
        raw = await self._engine.read(key)
        return default if raw is None else decode_value(raw)

    async def store(self, key: str, value: Any, *, ttl_s: float) -> None:
        check_key(key)
        check_ttl(ttl_s)
        raw = encode_value(value, max_bytes=self._max_value_bytes)
        await self._engine.write(key, raw, ttl_s=ttl_s)

    async def delete(self, *keys: str) -> int:
        for key in keys:
            check_key(key)
            self._flights.pop(key, None)  # who asks from now on does not get what was computed before
        return await self._engine.delete(keys) if keys else 0

    async def fetch_or_compute(self, key: str, compute: Compute, *, ttl_s: float, limit_s: float = 60) -> Any:
        check_key(key)
        check_ttl(ttl_s)
        raw = await self._engine.read(key)
        if raw is None:
            raw = await self._join(key, compute, ttl_s, limit_s)
        return decode_value(raw)

    async def purge(self) -> int:
        return await self._engine.purge()

    async def close(self) -> None:
        if self._frees:
            await asyncio.wait(self._frees, timeout=CLOSE_LIMIT_S)
        await self._notices.close()
        await self._engine.close()

    # Flights

    async def _join(self, key: str, compute: Compute, ttl_s: float, limit_s: float) -> bytes:
        """Follow the flight of the key, or lead one where there is none or it brought nothing."""
        deadline = asyncio.get_running_loop().time() + limit_s
        while (flight := self._flights.get(key)) is not None:
            await asyncio.wait([flight], timeout=_left_s(deadline))
            if not flight.done():
                raise _waited_too_long(limit_s)
            if (raw := flight.result()) is not None:
                return raw
        return await self._lead(key, compute, ttl_s, limit_s, deadline)

    async def _lead(self, key: str, compute: Compute, ttl_s: float, limit_s: float, deadline: float) -> bytes:
        flight: Flight = asyncio.get_running_loop().create_future()
        self._flights[key] = flight
        holder = str(uuid.uuid4())
        shared: bytes | None = None
        try:
            claim = await self._claim(key, holder, deadline, limit_s)
            if claim.value is not None:
                shared = claim.value
                if claim.is_mine:
                    self._free_soon(key, holder)
                return shared
            raw = await self._compute(key, holder, compute, limit_s)
            if await self._settle(key, holder, raw, ttl_s):
                shared = raw
            return raw
        except BaseException:
            self._free_soon(key, holder)
            raise
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]
            flight.set_result(shared)

    # Between processes

    async def _claim(self, key: str, holder: str, deadline: float, limit_s: float) -> Claim:
        """The value, or the right to compute it, whichever comes first. Raises BasaltError cache_wait_timeout."""
        claim = await self._engine.claim(key, holder, lease_s=self._lease_s)
        if claim.is_mine or claim.value is not None:
            return claim
        async with self._notices.awaiting(key) as told:
            while True:
                told.clear()
                claim = await self._engine.claim(key, holder, lease_s=self._lease_s)
                if claim.is_mine or claim.value is not None:
                    return claim
                left_s = _left_s(deadline)
                if not left_s:
                    raise _waited_too_long(limit_s)
                await wait_within(told, min(left_s, max(claim.left_s, 0.0) + 0.001, POLL_S))

    async def _compute(self, key: str, holder: str, compute: Compute, limit_s: float) -> bytes:
        renewal = asyncio.create_task(self._renew(key, holder))
        try:
            async with asyncio.timeout(limit_s) as limit:
                value = await compute()
        except TimeoutError as exc:
            if not limit.expired():
                raise
            raise BasaltError(
                "cache_computation_timeout", 504, f"The value was not computed within {limit_s:g} seconds"
            ) from exc
        finally:
            renewal.cancel()
        return encode_value(value, max_bytes=self._max_value_bytes)

    async def _renew(self, key: str, holder: str) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            try:
                if not await self._engine.extend(key, holder, lease_s=self._lease_s):
                    observe.event("cache_lease_lost", level="warning", key=key)
                    return
            except Exception as error:  # the next one may succeed before the lease is over
                observe.event("cache_lease_not_renewed", level="warning", key=key, reason=str(error))

    async def _settle(self, key: str, holder: str, raw: bytes, ttl_s: float) -> bool:
        """Whether the value was kept. An engine that has gone away meanwhile does not cost the caller its value."""
        try:
            return await self._engine.settle(key, holder, raw, ttl_s=ttl_s)
        except Exception as error:
            observe.event("cache_value_not_kept", level="warning", key=key, reason=str(error))
            self._free_soon(key, holder)
            return False

    def _free_soon(self, key: str, holder: str) -> None:
        """In a task of its own: the caller may have been cancelled."""
        task = asyncio.create_task(self._free(key, holder))
        self._frees.add(task)
        task.add_done_callback(self._frees.discard)

    async def _free(self, key: str, holder: str) -> None:
        try:
            await self._engine.free(key, holder)
        except Exception as error:  # then it ends by itself
            observe.event("cache_lease_not_freed", level="warning", key=key, reason=str(error))


def _left_s(deadline: float) -> float:
    return max(0.0, deadline - asyncio.get_running_loop().time())


def _waited_too_long(limit_s: float) -> BasaltError:
    return BasaltError("cache_wait_timeout", 504, f"Nobody has computed the value within {limit_s:g} seconds")
