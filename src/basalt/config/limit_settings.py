"""Settings of rate limits: where they are counted, and the project's own rules."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Literal

from basalt.config.setting import setting

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PATH = re.compile(r"/[^?#\s]*")
RULE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
COUNTED_BY = re.compile(rf"ip|user|number|route|header:{HEADER_NAME.pattern}")
OWN_RULES = frozenset({"anonymous_per_minute", "user_per_minute"})


@dataclass(frozen=True, kw_only=True)
class RateLimitRuleSettings:
    enabled: bool = setting(True, "Apply the rule.")
    paths: tuple[str, ...] = setting(
        (), "Paths it is for, with all below them; `*` is one segment, `**` any number. By default all."
    )
    methods: tuple[str, ...] = setting((), "Methods it is for; by default all.")
    roles: tuple[str, ...] = setting(
        (), "Database roles it is for; by default all but `service_role`, which has to be named."
    )
    count_by: tuple[str, ...] = setting(
        ("ip",),
        "What shares a count: `ip`, `user` (without one the address), `number` (e-mail address or phone number in "
        "the body), `route`, `header:NAME`, or several together; `[]` counts all requests together.",
    )
    limit: int = setting(60, "Requests in the period.", low=1, high=1_000_000)
    per_s: float = setting(60.0, "The period.", low=0.001, high=31 * 86400)
    burst: int | None = setting(
        None, "Requests at once, after which they come evenly; by default the limit.", low=1, high=1_000_000
    )
    fail: Literal["open", "closed"] = setting(
        "open", "Whether requests pass while the store is away, or are refused with 503."
    )
    shadow: bool = setting(False, "Count and report what would be refused, and let it pass.")


@dataclass(frozen=True, kw_only=True)
class RateLimitSettings:
    enabled: bool = setting(
        True,
        "Limit requests; loopback addresses are exempt from counts by address unless a client address header is set.",
    )
    anonymous_per_minute: int = setting(
        60, "Requests a minute and address without a user's token or a secret key; 0 is no limit.", low=0
    )
    user_per_minute: int = setting(0, "Requests a minute and user; 0 is no limit.", low=0)
    store: Literal["memory", "redis", "postgres"] = setting(
        "memory", "Where requests are counted: each gateway for itself, or all of them together."
    )
    url: str | None = setting(
        None,
        "Server of the counts, such as `redis://:password@host:6379/0`; by default `basalt.cache.url`.",
        is_secret=True,
    )
    timeout_s: float = setting(0.25, "Longest wait for the store.", low=0.01, high=10)
    rules: Mapping[str, RateLimitRuleSettings] = setting({}, "Limits of the project's own.")


def find_limit_problems(settings: RateLimitSettings, *, other_url: str | None) -> Iterator[tuple[str, str]]:
    """Keys below `[basalt.rate_limit]` with values that will not do, and why. `other_url` is the cache's."""
    if settings.store == "redis" and not (settings.url or other_url):
        yield "url", "counting in Redis needs the address of its server"
    for name, rule in settings.rules.items():
        for key, reason in _find_rule_problems(name, rule):
            yield f"rules.{name}{key}", reason


def find_proxy_problems(header: str | None, trusted_proxies: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """What is no network in `basalt.trusted_proxies`, and no name of a header in `basalt.client_address_header`."""
    if header is not None and not HEADER_NAME.fullmatch(header):
        yield "client_address_header", f"{header!r} is no name of a header"
    for text in trusted_proxies:
        try:
            ip_network(text)
        except ValueError as exc:
            yield "trusted_proxies", str(exc)


def _find_rule_problems(name: str, rule: RateLimitRuleSettings) -> Iterator[tuple[str, str]]:
    if not RULE_NAME.fullmatch(name):
        yield "", "a rule's name has up to 64 letters, digits, dots, dashes and underscores"
    if name in OWN_RULES:  # the two would share their counts
        yield "", f"Basalt has a rule of this name; set basalt.rate_limit.{name}, or choose another one"
    for path in rule.paths:
        if not PATH.fullmatch(path):
            yield ".paths", f"{path!r} is no path; one begins with a slash and has no query"
    for method in rule.methods:
        if method.upper() not in METHODS:
            yield ".methods", f"{method!r} is not one of {', '.join(sorted(METHODS))}"
    for what in rule.count_by:
        if not COUNTED_BY.fullmatch(what):
            yield (
                ".count_by",
                f"{what!r} is not one of 'ip', 'user', 'number', 'route' and 'header:NAME'",
            )
    if "number" in rule.count_by and not rule.paths:
        yield ".count_by", "a rule by number reads bodies, so that it needs `paths`"
