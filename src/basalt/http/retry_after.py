"""When the other side wants to be asked again."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds or a date, RFC 9110 §10.2.3; None for anything else.

    >>> parse_retry_after("120"), parse_retry_after("soon"), parse_retry_after("-1")
    (120.0, None, None)
    >>> parse_retry_after("Fri, 31 Dec 1999 23:59:59 GMT")
    0.0
    """
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
