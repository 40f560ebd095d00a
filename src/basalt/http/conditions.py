"""Conditional requests, RFC 9110 §13: whether a client has what it asks for already, or means another version."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from basalt.http.headers import Headers

Outcome = Literal["proceed", "not_modified", "failed"]


def check_conditions(headers: Headers, *, etag: str, last_modified: datetime, prefix: str = "") -> Outcome:
    """What the preconditions of a GET or HEAD say, in the order of §13.2.2. `etag` has its quotes. `prefix` stands
    before the headers' names, `x-amz-copy-source-` for one."""
    modified = last_modified.astimezone(UTC).replace(microsecond=0)
    if (matches := headers.get(f"{prefix}if-match")) is not None:
        if not _names(matches, etag, weak=False):
            return "failed"
    elif (since := _date(headers.get(f"{prefix}if-unmodified-since"))) is not None and modified > since:
        return "failed"
    if (matches := headers.get(f"{prefix}if-none-match")) is not None:
        return "not_modified" if _names(matches, etag, weak=True) else "proceed"
    if (since := _date(headers.get(f"{prefix}if-modified-since"))) is not None and modified <= since:
        return "not_modified"
    return "proceed"


def is_range_current(headers: Headers, *, etag: str, last_modified: datetime) -> bool:
    """Whether `If-Range` (§13.1.5) still names this content, so that a range of it may be sent."""
    given = headers.get("if-range")
    if given is None:
        return True
    if given.startswith(('"', "W/")):
        return given == etag
    return _date(given) == last_modified.astimezone(UTC).replace(microsecond=0)


def _names(header: str, etag: str, *, weak: bool) -> bool:
    """
    >>> _names('"a", W/"b"', '"b"', weak=True), _names('W/"b"', '"b"', weak=False), _names("*", '"b"', weak=False)
    (True, False, True)
    """
    given = [tag.strip() for tag in header.split(",")]
    if weak:
        given = [tag.removeprefix("W/") for tag in given]
    bare = etag.strip('"')
    return "*" in given or etag in given or bare in given


def _date(value: str | None) -> datetime | None:
    """An HTTP date; what is none does not count (§13.1.3)."""
    try:
        found = None if value is None else parsedate_to_datetime(value)
    except ValueError:
        return None
    return found if found is None or found.tzinfo is not None else found.replace(tzinfo=UTC)
