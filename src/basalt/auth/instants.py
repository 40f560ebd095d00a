"""Instants as documents of others write them: RFC 3339, which is also XML Schema's dateTime with a zone."""

import re
from datetime import UTC, datetime
from typing import Final

INSTANT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})([.,][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})"
)


def parse_instant(text: str) -> datetime | None:
    """Any number of digits of a second, of which the first six count; None for what is no instant.

    >>> parse_instant("2025-01-01T00:00:00.123456789+01:00").isoformat()
    '2024-12-31T23:00:00.123456+00:00'
    >>> parse_instant("2025-02-30T00:00:00Z") is parse_instant("0001-01-01T00:00:00+01:00") is None
    True
    """
    found = INSTANT.fullmatch(text)
    if found is None:
        return None
    whole, fraction, zone = found.groups()
    digits = f".{fraction[1:7]:0<6}" if fraction else ""
    try:
        return datetime.fromisoformat(f"{whole}{digits}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
