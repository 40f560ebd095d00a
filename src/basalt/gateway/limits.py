"""Rate limits of requests (requirement P15): so many a minute per address without a user's token and per user with one,
and the rules of the project, counted in the store of the settings.

Every limited answer tells how far its caller is from the tightest rule: `RateLimit-Limit`, `-Remaining` and `-Reset` as
in draft-ietf-httpapi-ratelimit-headers up to 06, which clients know, and `RateLimit-Policy` as in the current one.

Loopback addresses are exempt from counts by address while nobody is trusted to name the client: then every client of a
development machine shares one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from basalt import observe
from basalt.access import AccessError, AnyAuthoriser, Caller
from basalt.config import RateLimitSettings
from basalt.errors import BasaltError
from basalt.gateway.limit_rules import Rule, RuleSet, compile_rules, numbers_of, sort_rules
from basalt.http import Request, is_loopback
from basalt.kv import MemoryRates, RateStore, RateStoreError, Standing, Use

UNLIMITED_PREFIXES = frozenset({"/health", "/ready", "/studio", "/metrics"})
MAX_PEEK_BYTES = 1024 * 1024  # no larger body is taken by Auth
STORE_RETRY_S = 1

LIMITED = observe.Counter(
    "basalt_rate_limited_total", "Requests over a rate limit, refused or only noted.", ("rule", "outcome")
)
UNCOUNTED = observe.Counter(
    "basalt_rate_limit_uncounted_total", "Requests met while the store of rate limits was away.", ("outcome",)
)

HeaderPairs = list[tuple[bytes, bytes]]


class Counted(NamedTuple):
    """A rule that concerned a request, and what its bucket said."""

    rule: Rule
    standing: Standing


class RequestLimits:
    """`by_prefix` are the authorisers of services that have one of their own, `passes` says by prefix which requests
    of a service only rules for their paths limit. `store` is closed with the limits."""

    def __init__(
        self,
        settings: RateLimitSettings,
        authoriser: AnyAuthoriser,
        *,
        trusts_header: bool,
        by_prefix: Mapping[str, AnyAuthoriser] = MappingProxyType({}),
        passes: Mapping[str, Callable[[Request], bool]] = MappingProxyType({}),
        store: RateStore | None = None,
    ) -> None:
        self._sets = _sort(compile_rules(settings) if settings.enabled else [])
        self._authoriser = authoriser
        self._by_prefix = by_prefix
        self._passes = passes
        self._trusts_header = trusts_header
        self._store = MemoryRates() if store is None else store

    async def check(self, request: Request) -> HeaderPairs:
        """Count the request; the headers that tell how it stands. Raises BasaltError rate_limit_exceeded (429) with
        `Retry-After` in seconds, rate_limit_unavailable (503)."""
        if request.prefix in UNLIMITED_PREFIXES:
            return []
        passes = self._passes.get(request.prefix)
        return await self._check(request, of_paths=passes is not None and passes(request))

    async def check_handshake(self, request: Request) -> None:
        """A WebSocket is limited by rules for its path alone."""
        await self._check(request, of_paths=True)

    async def close(self) -> None:
        await self._store.close()

    async def _check(self, request: Request, *, of_paths: bool) -> HeaderPairs:
        is_shared = not self._trusts_header and is_loopback(request.client_ip)
        rules = self._sets[of_paths, is_shared].select(request.method, request.prefix + request.path)
        if not rules:
            return []
        caller = self._caller(request)
        rules = [
            rule
            for rule in rules
            if rule.audience(caller) and not (is_shared and rule.counts_address(caller))
        ]
        if not rules:
            return []
        numbers: Sequence[str] = ()
        if any(rule.reads_body for rule in rules):
            numbers = numbers_of(await request.body(min(MAX_PEEK_BYTES, request.body_limit_bytes)))
        asked = [(rule, key) for rule in rules for key in rule.keys(request, caller, numbers)]
        try:
            standings = await self._store.use(
                [Use(key, rule.quota, not rule.is_shadow, rule.name) for rule, key in asked]
            )
        except RateStoreError as exc:
            return _pass_uncounted(rules, exc)
        return _settle([Counted(rule, told) for (rule, _), told in zip(asked, standings, strict=True)])

    def _caller(self, request: Request) -> Caller | None:
        authoriser = self._by_prefix.get(request.prefix, self._authoriser)
        try:
            return authoriser.authorise(request.headers, request.query_string)
        except AccessError:
            return None


def _sort(rules: Sequence[Rule]) -> Mapping[tuple[bool, bool], RuleSet]:
    """By whether only rules for a path count, and whether the address is everybody's."""
    return {
        (of_paths, is_shared): sort_rules(
            [
                rule
                for rule in rules
                if not (of_paths and rule.paths is None) and not (is_shared and "ip" in rule.count_by)
            ]
        )
        for of_paths in (False, True)
        for is_shared in (False, True)
    }


def _settle(counted: Sequence[Counted]) -> HeaderPairs:
    """The headers for a request that passes. Raises BasaltError for one that does not."""
    if len(counted) == 1 and not counted[0].standing.is_over and not counted[0].rule.is_shadow:
        return render_headers(counted[0], counted)  # as most are
    for one in counted:
        if one.rule.is_shadow and one.standing.is_over:
            LIMITED.add(1, one.rule.name, "shadow")
            observe.event("rate_limit_shadow", rule=one.rule.name)
    binding = [one for one in counted if not one.rule.is_shadow]
    if not binding:
        return []
    over = [one for one in binding if one.standing.is_over]
    if over:
        refusing = max(over, key=_wait_s)
        LIMITED.add(1, refusing.rule.name, "refused")
        raise _exceeded(refusing, binding)
    return render_headers(binding[0] if len(binding) == 1 else min(binding, key=_room), binding)


def _pass_uncounted(rules: Sequence[Rule], cause: RateStoreError) -> HeaderPairs:
    """Raises BasaltError where one of the rules would rather refuse than not count."""
    if not any(rule.fails_closed and not rule.is_shadow for rule in rules):
        UNCOUNTED.add(1, "passed")
        return []
    UNCOUNTED.add(1, "refused")
    raise BasaltError(
        "rate_limit_unavailable",
        503,
        "Requests cannot be counted just now",
        hint="Wait as long as Retry-After says",
        headers=[("Retry-After", str(STORE_RETRY_S))],
    ) from cause


def _exceeded(refusing: Counted, binding: Sequence[Counted]) -> BasaltError:
    quota = refusing.rule.quota
    pairs = render_headers(refusing, binding)
    return BasaltError(
        "rate_limit_exceeded",
        429,
        f"Over the limit of {quota.limit} request{'s' * (quota.limit > 1)} {_period(quota.per_s)}",
        details={"rule": refusing.rule.name},
        hint="Wait as long as Retry-After says, or sign in"
        if refusing.rule.name == "anonymous_per_minute"
        else "Wait as long as Retry-After says",
        headers=[
            ("Retry-After", str(max(1, math.ceil(_wait_s(refusing))))),
            *((name.decode(), value.decode()) for name, value in pairs),
        ],
    )


def render_headers(tightest: Counted, binding: Sequence[Counted]) -> HeaderPairs:
    """How far the caller is from the tightest rule, and which ones there are."""
    quota, standing = tightest.rule.quota, tightest.standing
    policy = (
        tightest.rule.policy
        if len(binding) == 1
        else b", ".join(dict.fromkeys(one.rule.policy for one in binding))
    )
    return [
        (b"ratelimit-limit", b"%d" % quota.burst),
        (b"ratelimit-remaining", b"%d" % (0 if standing.is_over else standing.remaining(quota))),
        (b"ratelimit-reset", b"%d" % math.ceil(standing.full_in_s)),
        (b"ratelimit-policy", policy),
    ]


def _wait_s(one: Counted) -> float:
    return one.standing.wait_s(one.rule.quota)


def _room(one: Counted) -> tuple[int, float]:
    """The fewer are left, and the longer it lasts, the tighter."""
    return one.standing.remaining(one.rule.quota), -one.standing.full_in_s


def _period(per_s: float) -> str:
    """
    >>> [_period(s) for s in (1.0, 60.0, 3600.0, 90.0)]
    ['a second', 'a minute', 'an hour', 'in 90 seconds']
    """
    named = {1.0: "a second", 60.0: "a minute", 3600.0: "an hour", 86400.0: "a day"}
    return named.get(per_s) or f"in {per_s:g} seconds"
