"""The default rate limit (requirement P15): so many requests a minute per address without a user's token, and
per user with one.

Loopback addresses are exempt while no client address header is configured: then every client of a development
machine shares one.
"""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import ip_address
from types import MappingProxyType

from basalt.access import AccessError, AnyAuthoriser, Caller
from basalt.config import RateLimitSettings
from basalt.errors import BasaltError
from basalt.http import Request
from basalt.kv import RateLimiter

PER_S = 60.0
UNLIMITED_PREFIXES = frozenset({"/health", "/ready", "/studio"})


class RequestLimits:
    """`by_prefix` are the authorisers of services that have one of their own, `passes` says by prefix which requests
    of a service are not limited."""

    def __init__(
        self,
        settings: RateLimitSettings,
        authoriser: AnyAuthoriser,
        *,
        trusts_header: bool,
        by_prefix: Mapping[str, AnyAuthoriser] = MappingProxyType({}),
        passes: Mapping[str, Callable[[Request], bool]] = MappingProxyType({}),
    ) -> None:
        self._settings = settings
        self._authoriser = authoriser
        self._by_prefix = by_prefix
        self._passes = passes
        self._trusts_header = trusts_header
        self._limiter = RateLimiter()

    def check(self, request: Request) -> None:
        """Raises BasaltError rate_limit_exceeded (429) with `Retry-After` in seconds."""
        if (
            not self._settings.enabled
            or request.prefix in UNLIMITED_PREFIXES
            or self._is_exempt(request.client_ip)
            or self._is_passed(request)
        ):
            return
        key, limit = self._bucket(request)
        wait_s = self._limiter.take(key, limit, PER_S) if limit else None
        if wait_s is not None:
            raise BasaltError(
                "rate_limit_exceeded",
                429,
                f"Over the limit of {limit} requests a minute",
                hint="Wait as long as Retry-After says, or sign in",
                headers=[("Retry-After", str(math.ceil(wait_s)))],
            )

    def _bucket(self, request: Request) -> tuple[str, int]:
        caller = self._caller(request)
        if caller is None or caller.role == "anon":
            return f"ip:{request.client_ip}", self._settings.anonymous_per_minute
        if caller.is_key:
            return "", 0
        return f"user:{caller.user_id or caller.role}", self._settings.user_per_minute

    def _caller(self, request: Request) -> Caller | None:
        authoriser = self._by_prefix.get(request.prefix, self._authoriser)
        try:
            return authoriser.authorise(request.headers, request.query_string)
        except AccessError:
            return None

    def _is_passed(self, request: Request) -> bool:
        passes = self._passes.get(request.prefix)
        return passes is not None and passes(request)

    def _is_exempt(self, client_ip: str) -> bool:
        if self._trusts_header:
            return False
        return _is_loopback(client_ip)


@lru_cache(maxsize=4096)
def _is_loopback(client_ip: str) -> bool:
    try:
        return ip_address(client_ip).is_loopback
    except ValueError:
        return False
