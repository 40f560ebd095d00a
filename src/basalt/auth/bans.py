"""Bans: how long they last, in Go's words for a duration (GoTrue admin.go)."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from basalt.auth.errors import AuthError

DURATION: Final = re.compile(r"([+-]?)((?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h))+")
DURATION_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
UNIT_S: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
MAX_BAN_S: Final = 290 * 365 * 86400.0  # what a Go duration can hold


def banned_until(duration: str) -> datetime | str | None:
    """The end of a ban of a Go duration ("24h", "1h30m"); "" lifts it ("none"), None leaves it as it is."""
    if not duration:
        return None
    if duration == "none":
        return ""
    seconds = parse_duration_s(duration)
    return datetime.now(UTC) + timedelta(seconds=seconds) if seconds else ""


def parse_duration_s(duration: str) -> float:
    """
    >>> parse_duration_s("1h30m"), parse_duration_s("300ms")
    (5400.0, 0.3)
    """
    if duration == "0":
        return 0.0
    if len(duration) > 100 or DURATION.fullmatch(duration) is None:
        raise AuthError(
            "validation_failed", f'invalid format for ban duration: time: invalid duration "{duration[:40]}"'
        )
    seconds = sum(float(number) * UNIT_S[unit] for number, unit in DURATION_PART.findall(duration))
    if seconds > MAX_BAN_S:
        raise AuthError("validation_failed", "invalid format for ban duration: the duration is too long")
    return -seconds if duration.startswith("-") else seconds
