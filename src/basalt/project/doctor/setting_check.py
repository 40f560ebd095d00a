"""A check of settings: a function that yields findings, with what they have in common beside it."""

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from basalt.config import Settings
from basalt.postgres import Finding, Severity

# Severity, subject (a setting's key), what is wrong with it, what to write.
Smell = tuple[Severity, str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingCheck:
    name: str
    title: str
    why: str
    look: Callable[[Settings], Iterator[Smell]]
    group: str = "config"


def check_settings(settings: Settings, check: SettingCheck) -> Sequence[Finding]:
    return [
        Finding(check=check.name, severity=severity, subject=subject, what=what, why=check.why, remedy=remedy)
        for severity, subject, what, remedy in check.look(settings)
    ]


def is_public(settings: Settings) -> bool:
    """Whether others than this machine are meant to reach the project: what is fine on a laptop is not there."""
    if settings.api.external_url:
        return not is_loopback(urlsplit(settings.api.external_url).hostname or "")
    return not is_loopback(settings.api.host)


def is_loopback(host: str) -> bool:
    """
    >>> [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "example.com", "a.localhost")]
    [True, True, True, False, False, True]
    """
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
