"""Limits on guessing passwords, per account and per source address.

An account is whatever was given as address or number, whether or not anybody has it, so that the limit tells
nothing; it is never locked for good, because the count goes down evenly, one every `PERIOD_S` / limit seconds. Over
the limit nothing is hashed.
"""

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from basalt.auth.errors import AuthError
from basalt.http import Request, client_network, is_loopback
from basalt.kv import RateCounts, RateStore

PERIOD_S: Final = 15 * 60.0
PER_ADDRESS: Final = 5  # times the limit of an account: an office has one address and many people
AT_ONCE: Final = 4  # tries of one account under way together; so many more than the limit may be made at most
MAX_WAITING: Final = 256


@dataclass(slots=True)
class _Line:
    """Those who try the password of one account just now."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    people: int = 0


class PasswordGuesses:
    """`limit` wrong passwords in 15 minutes and account, from any address; 0 is no limit. Addresses without a trusted
    header are those of the connections, and loopback is exempt then."""

    def __init__(self, limit: int, *, trusts_header: bool, rates: RateStore | None = None) -> None:
        self._limit = limit
        self._trusts_header = trusts_header
        self._limiter = RateCounts(rates)
        self._lines: dict[str, _Line] = {}

    @asynccontextmanager
    async def turn(self, account: str, request: Request) -> AsyncIterator[None]:
        """Wait until few enough try the same account, then check that it is not over its limit: many requests at
        once are no way around. Raises AuthError over_request_rate_limit with `Retry-After`."""
        if not self._limit:
            yield
            return
        key = _digest(account)
        line = self._lines.setdefault(key, _Line())
        if line.people >= MAX_WAITING:
            raise _over(1.0)
        line.people += 1
        try:
            async with line.turns:
                await self._check(account, request)
                yield
        finally:
            line.people -= 1
            if not line.people:
                del self._lines[key]

    async def count_wrong(self, account: str, request: Request) -> None:
        """To be called within the turn."""
        for key, limit in self._buckets(account, request):
            await self._limiter.take(key, limit, PERIOD_S)

    async def _check(self, account: str, request: Request) -> None:
        for key, limit in self._buckets(account, request):
            wait_s = await self._limiter.wait_s(key, limit, PERIOD_S)
            if wait_s is not None:
                raise _over(wait_s)

    def _buckets(self, account: str, request: Request) -> list[tuple[str, int]]:
        if not self._limit:
            return []
        buckets = [(f"auth:account:{_digest(account)}", self._limit)]
        if self._trusts_header or not is_loopback(request.client_ip):
            buckets.append((f"auth:address:{client_network(request.client_ip)}", self._limit * PER_ADDRESS))
        return buckets


def _over(wait_s: float) -> AuthError:
    return AuthError("over_request_rate_limit", headers=[("Retry-After", str(math.ceil(wait_s)))])


def _digest(account: str) -> str:
    """Keys of one length, whatever was sent as an address."""
    return hashlib.sha256(account.encode()).hexdigest()[:32]
