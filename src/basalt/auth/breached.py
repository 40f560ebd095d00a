"""Passwords that are known from breaches: asked of a k-anonymity service, or looked up in a file of one's own.

The service learns five of forty hexadecimal digits of a hash, and how long its answer is tells nothing, as it is
padded (haveibeenpwned.com, "Pwned Passwords"; GoTrue asks the same one).
"""

import hashlib
from pathlib import Path
from typing import Final

from basalt.auth.bloom import BloomFile
from basalt.config import BreachedPasswordSettings, ConfigError, Problem
from basalt.http import OutgoingClient, OutgoingError

USER_AGENT: Final = "basalt-auth"
PREFIX_DIGITS: Final = 5
MAX_ANSWER_BYTES: Final = 512 * 1024  # some 1,000 lines of 40 characters


class BreachListError(Exception):
    """The list cannot be asked just now."""


class BreachApi:
    def __init__(self, url: str, http: OutgoingClient, *, timeout_s: float) -> None:
        self._url = url
        self._http = http
        self._timeout_s = timeout_s

    async def has(self, password: str) -> bool:
        """Raises BreachListError."""
        digest = _sha1(password).hex().upper()
        prefix, suffix = digest[:PREFIX_DIGITS], digest[PREFIX_DIGITS:]
        try:
            answer = await self._http.send(
                "GET",
                self._url + prefix,
                timeout_s=self._timeout_s,
                headers={"user-agent": USER_AGENT, "add-padding": "true"},
                max_bytes=MAX_ANSWER_BYTES,
            )
        except OutgoingError as error:
            raise BreachListError(str(error)) from error
        if answer.status != 200:
            raise BreachListError(f"The service answered {answer.status}")
        return _has_suffix(answer.body.decode("ascii", "replace"), suffix)


class BreachFile:
    """Raises ConfigError when the file is none of ours."""

    def __init__(self, path: Path) -> None:
        try:
            self._bloom = BloomFile(path)
        except (OSError, ValueError) as error:
            problem = Problem(str(path), "", f"the list of breached passwords cannot be read: {error}")
            raise ConfigError([problem]) from error

    async def has(self, password: str) -> bool:
        return _sha1(password) in self._bloom


def open_breach_list(
    settings: BreachedPasswordSettings, project_dir: Path, http: OutgoingClient
) -> BreachApi | BreachFile | None:
    """None where breached passwords are allowed."""
    if not settings.enabled:
        return None
    if not settings.file:
        return BreachApi(settings.url, http, timeout_s=settings.timeout_s)
    places = (project_dir / settings.file, project_dir / "supabase" / settings.file)
    return BreachFile(next((place for place in places if place.is_file()), places[0]))


def _has_suffix(lines: str, suffix: str) -> bool:
    """Of lines `SUFFIX:COUNT`; a count of 0 is padding.

    >>> _has_suffix("0018A45C4D1DEF81644B54AB7F969B88D65:3\\r\\n00D4F6E8FA6EECAD2A3AA415EEC418D38EC:0",
    ...     "00D4F6E8FA6EECAD2A3AA415EEC418D38EC")
    False
    """
    for line in lines.splitlines():
        known, _, count = line.strip().partition(":")
        if known.upper() == suffix:
            return count.strip() != "0"
    return False


def _sha1(password: str) -> bytes:
    """The hash that the lists are made of; it protects nothing here."""
    return hashlib.sha1(password.encode(), usedforsecurity=False).digest()
