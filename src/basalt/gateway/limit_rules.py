"""The rules of `[basalt.rate_limit]`, compiled: whom a rule is for, and under which key a request is counted."""

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from basalt.access import Caller
from basalt.config import RateLimitRuleSettings, RateLimitSettings
from basalt.http import Request, client_network
from basalt.kv import Quota
from basalt.late import LateModule

if TYPE_CHECKING:
    from basalt import auth
else:  # the tables of the world's telephone numbers, which the gateway of REST alone does without
    auth = LateModule("basalt.auth")

MINUTE_S = 60.0
SERVICE_ROLE = "service_role"
LONGEST_PLAIN_KEY = 64
DIGITS = re.compile(r"[0-9]+")

ONCE = ("",)

Audience = Callable[[Caller | None], bool]


@dataclass(frozen=True, slots=True, eq=False)  # one is itself: it is looked up by at every request
class Rule:
    """`audience` says whom it is for; no caller is one without valid credentials. `paths` is None for all, and
    `methods` empty. `policy` is its part of `RateLimit-Policy`."""

    name: str
    quota: Quota
    audience: Audience
    count_by: tuple[str, ...] = ("ip",)
    paths: re.Pattern[str] | None = None
    methods: frozenset[str] = frozenset()
    fails_closed: bool = False
    is_shadow: bool = False
    policy: bytes = field(init=False)

    def __post_init__(self) -> None:
        policy = f'"{self.name}";q={self.quota.limit};w={math.ceil(self.quota.per_s)}'
        object.__setattr__(self, "policy", policy.encode())

    @property
    def reads_body(self) -> bool:
        return "number" in self.count_by

    def concerns(self, method: str, path: str) -> bool:
        """Whether it is for requests like this one, whoever sends it."""
        return (not self.methods or method in self.methods) and (
            self.paths is None or self.paths.match(path) is not None
        )

    def counts_address(self, caller: Caller | None) -> bool:
        """Whether the client's address is part of the key."""
        return "ip" in self.count_by or ("user" in self.count_by and _user(caller) is None)

    def keys(self, request: Request, caller: Caller | None, numbers: Sequence[str]) -> list[str]:
        """One for each number, else one."""
        if len(self.count_by) == 1 and not self.reads_body:  # as most are
            return [f"{self.name}|{_short(self._part(self.count_by[0], request, caller, ''))}"]
        return [
            "|".join(
                [self.name, *(_short(self._part(what, request, caller, number)) for what in self.count_by)]
            )
            for number in (numbers if self.reads_body else ONCE)
        ]

    def _part(self, what: str, request: Request, caller: Caller | None, number: str) -> str:
        match what:
            case "ip":
                return client_network(request.client_ip)
            case "user":
                user = _user(caller)
                return f"user={user}" if user is not None else client_network(request.client_ip)
            case "number":
                return number
            case "route":
                return route_of(request.prefix + request.path)
            case _:
                return request.headers.get(what.removeprefix("header:").lower()) or ""


def compile_rules(settings: RateLimitSettings) -> list[Rule]:
    """The project's own, and the two defaults as far as they are on."""
    rules = [_compile(name, rule) for name, rule in settings.rules.items() if rule.enabled]
    if limit := settings.anonymous_per_minute:
        rules.append(Rule("anonymous_per_minute", Quota(limit, MINUTE_S, limit), _is_anonymous))
    if limit := settings.user_per_minute:
        rules.append(Rule("user_per_minute", Quota(limit, MINUTE_S, limit), _is_user, count_by=("user",)))
    return rules


def _compile(name: str, rule: RateLimitRuleSettings) -> Rule:
    roles = frozenset(rule.roles)
    return Rule(
        name,
        Quota(rule.limit, rule.per_s, rule.burst or rule.limit),
        (lambda caller: _role(caller) in roles) if roles else (lambda caller: _role(caller) != SERVICE_ROLE),
        count_by=rule.count_by,
        paths=compile_paths(rule.paths) if rule.paths else None,
        methods=frozenset(method.upper() for method in rule.methods),
        fails_closed=rule.fail == "closed",
        is_shadow=rule.shadow,
    )


def _role(caller: Caller | None) -> str:
    return "anon" if caller is None else caller.role


def _is_anonymous(caller: Caller | None) -> bool:
    return _role(caller) == "anon"


def _is_user(caller: Caller | None) -> bool:
    return caller is not None and caller.role != "anon" and not caller.is_key


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules that may concern a request, sorted so that most requests are done with them at once."""

    everywhere: tuple[Rule, ...]
    of_places: tuple[Rule, ...]
    places: re.Pattern[str] | None

    def select(self, method: str, path: str) -> Sequence[Rule]:
        if self.places is None or self.places.match(path) is None:
            return self.everywhere
        found = [rule for rule in self.of_places if rule.concerns(method, path)]
        return (*self.everywhere, *found) if found else self.everywhere


def sort_rules(rules: Iterable[Rule]) -> RuleSet:
    everywhere = tuple(rule for rule in rules if rule.paths is None and not rule.methods)
    of_places = tuple(rule for rule in rules if rule not in everywhere)
    patterns = [rule.paths.pattern if rule.paths is not None else "" for rule in of_places]
    places = re.compile("|".join(f"(?:{pattern})" for pattern in patterns)) if patterns else None
    return RuleSet(everywhere, of_places, places)


def compile_paths(paths: Iterable[str]) -> re.Pattern[str]:
    """One expression for all of them; each is for itself and what is below it.

    >>> pattern = compile_paths(["/rest/v1/gigs", "/functions/v1/*/export"])
    >>> [bool(pattern.match(p)) for p in ("/rest/v1/gigs", "/rest/v1/gigs/1", "/rest/v1/gigs_old")]
    [True, True, False]
    >>> [bool(pattern.match(p)) for p in ("/functions/v1/a/export", "/functions/v1/a/b/export", "/functions/v1/a")]
    [True, False, False]
    """
    return re.compile("|".join(rf"(?:{_expression(path)})(?:/|$)" for path in paths))


def route_of(path: str) -> str:
    """The endpoint that a path belongs to: what stands behind the service and its version, not what is below.

    >>> [route_of(p) for p in ("/rest/v1/gigs", "/rest/v1/rpc/near", "/storage/v1/object/public/b/x.png")]
    ['/rest/v1/gigs', '/rest/v1/rpc/near', '/storage/v1/object']
    """
    segments = path.split("/")
    return "/".join(segments[: 5 if segments[3:4] == ["rpc"] else 4])


def numbers_of(body: bytes) -> Sequence[str]:
    """The e-mail address and phone number that a request to Auth is about, as Auth reads them: however a number is
    spelled, it is one.

    >>> numbers_of(b'{"email": " Ada@Example.com", "password": "x"}'), numbers_of(b'{"phone": "+65 9123-4567"}')
    (['ada@example.com'], ['6591234567'])
    """
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return []
    if not isinstance(fields, dict):
        return []
    email, phone = fields.get("email"), fields.get("phone")
    numbers = []
    if isinstance(email, str) and email.strip():
        numbers.append(email.strip().lower())
    if isinstance(phone, str) and DIGITS.fullmatch(digits := auth.phone_digits(phone)):
        numbers.append(digits)
    return numbers


def _expression(path: str) -> str:
    def render(part: str) -> str:
        return {"**": ".*", "*": "[^/]*"}.get(part) or re.escape(part)

    return "".join(map(render, re.split(r"(\*\*|\*)", path.rstrip("/"))))


def _user(caller: Caller | None) -> str | None:
    return None if caller is None else caller.user_id


def _short(part: str) -> str:
    """Keys are kept in memory by the hundred thousand, and headers are as long as callers please."""
    if len(part) <= LONGEST_PLAIN_KEY and "|" not in part:
        return part
    return hashlib.blake2b(part.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()
