"""What a flag gives to whom, from values alone: the same as `flags.decide` in the database, which
`tests/flags/test_same_in_sql.py` holds against it.

A user stands at one of 2^32 places for each flag: the first 32 bits of SHA-256 of `FLAG:USER`. A percentage takes in
those below it, so that who is in stays in while it grows, and flags do not all begin with the same users.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

PLACES = 2**32
OFF = "off"
ALL = Decimal(100)

Reason = Literal["DISABLED", "TARGETING_MATCH", "STATIC", "SPLIT"]  # OpenFeature's words


@dataclass(frozen=True, slots=True)
class Variant:
    name: str
    value: Any
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Cohort:
    """Whoever is listed, or whose claims contain these."""

    name: str
    user_ids: frozenset[str] = frozenset()
    claims: Mapping[str, Any] | None = None

    def has(self, caller: "FlagCaller") -> bool:
        if caller.user_id is not None and caller.user_id in self.user_ids:
            return True
        return self.claims is not None and contains(caller.claims, self.claims)


@dataclass(frozen=True, slots=True)
class Rule:
    cohort: Cohort
    rollout: Decimal = ALL
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class Flag:
    """`rules` in their order. `rollout` is for those whom none of them decides about."""

    name: str
    enabled: bool
    rollout: Decimal = ALL
    off_value: Any = False
    variants: Sequence[Variant] = (Variant("on", True),)
    rules: Sequence[Rule] = ()
    starts_at: datetime | None = None
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class FlagCaller:
    """`key` is what is hashed, `user_id` what cohorts list: a caller without a token may choose the first one."""

    key: str | None = None
    user_id: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    value: Any
    variant: str
    reason: Reason

    @property
    def is_enabled(self) -> bool:
        return self.value if isinstance(self.value, bool) else self.variant != OFF


def decide(flag: Flag, caller: FlagCaller, *, now: datetime) -> Decision:
    """What the flag gives to the caller."""
    has_begun = flag.starts_at is None or flag.starts_at <= now
    has_ended = flag.ends_at is not None and flag.ends_at <= now
    if not flag.enabled or not has_begun or has_ended:
        return Decision(flag.off_value, OFF, "DISABLED")
    reason: Reason
    rule = next((rule for rule in flag.rules if rule.cohort.has(caller)), None)
    if rule is not None:
        reason, rollout = "TARGETING_MATCH", rule.rollout
    else:
        is_static = flag.rollout == 0 or (flag.rollout == ALL and len(flag.variants) == 1)
        reason, rollout = "STATIC" if is_static else "SPLIT", flag.rollout
    if not is_in_rollout(flag.name, caller.key, rollout):
        return Decision(flag.off_value, OFF, reason)
    named = rule.variant if rule is not None else None
    variant = next((one for one in flag.variants if one.name == named), None) or _draw(flag, caller.key)
    return Decision(variant.value, variant.name, reason)


def bucket(salt: str, key: str) -> int:
    """
    >>> bucket("new_feed", "8f14e45f-ceea-467f-9a3d-1f0a4c5d6e7f")
    1116757230
    """
    return int.from_bytes(hashlib.sha256(f"{salt}:{key}".encode()).digest()[:4])


def is_in_rollout(flag_name: str, key: str | None, rollout: Decimal) -> bool:
    """Without a key only 100 percent are everybody."""
    if rollout >= ALL:
        return True
    return key is not None and bucket(flag_name, key) * 100 < rollout * PLACES


def contains(whole: Any, part: Any) -> bool:
    """PostgreSQL's `whole @> part` for JSON objects.

    >>> contains({"app_metadata": {"tier": "pro", "teams": ["a", "b"]}}, {"app_metadata": {"teams": ["b"]}})
    True
    >>> contains({"tier": ["pro"]}, {"tier": "pro"}), contains({"n": 1}, {"n": True}), contains({"n": 1}, {"n": 1.0})
    (False, False, True)
    """
    if isinstance(part, Mapping):
        return isinstance(whole, Mapping) and all(
            name in whole and contains(whole[name], value) for name, value in part.items()
        )
    if isinstance(part, list):
        return isinstance(whole, list) and all(any(contains(item, value) for item in whole) for value in part)
    return isinstance(whole, bool) == isinstance(part, bool) and bool(whole == part)


def _draw(flag: Flag, key: str | None) -> Variant:
    """A variant by the weights; the first one that has any where there is no key."""
    total = sum(variant.weight for variant in flag.variants)
    point = (bucket(f"{flag.name}:variant", key) if key is not None else 0) * total // PLACES
    upto = 0
    for variant in flag.variants:
        upto += variant.weight
        if point < upto:
            return variant
    raise AssertionError("the weights of a flag's variants are not all 0")
