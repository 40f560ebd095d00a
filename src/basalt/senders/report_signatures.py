"""What readers of status webhooks have in common: when a signed time is too far off, how bodies are read, and what of
them is kept."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from basalt.senders.delivery import ForgedReportError

CLOCK_TOLERANCE: Final = timedelta(minutes=5)  # standardwebhooks.com
KEPT_CHARS: Final = 500


def check_time(text: str, now: datetime, *, oldest: timedelta = CLOCK_TOLERANCE) -> None:
    """Of seconds since the epoch. Raises ForgedReportError."""
    try:
        sent_at = datetime.fromtimestamp(int(text), UTC)
    except (ValueError, OverflowError, OSError) as exc:
        raise ForgedReportError("The time of the webhook is no time") from exc
    if not now - oldest <= sent_at <= now + CLOCK_TOLERANCE:
        raise ForgedReportError("The time of the webhook is too far off")


def read_json(body: bytes) -> Any:
    """Raises ValueError."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise ValueError("The body is not JSON") from exc


def read_instant(value: object, default: datetime) -> datetime:
    """ISO 8601 or seconds since the epoch; `default` for anything else.

    >>> read_instant(1700000000, datetime.min).isoformat(), read_instant("2024-11-22T23:41:12.126Z", datetime.min).hour
    ('2023-11-14T22:13:20+00:00', 23)

    PostgreSQL knows no zone that is a day away.

    >>> read_instant("2024-11-22T23:41:12+23:59", datetime.min).isoformat()
    '2024-11-21T23:42:12+00:00'
    """
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return default


def keep_fields(source: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Those of an event that are kept with the delivery, an object's own as well; each cut to 500 characters.

    >>> kept = keep_fields({"click": {"link": "x" * 600, "a": {"b": 1}}, "to": "ada"}, ("type", "click"))
    >>> kept.keys(), kept["click"].keys(), len(kept["click"]["link"])
    (dict_keys(['click']), dict_keys(['link']), 500)
    """
    kept: dict[str, Any] = {}
    for name in names:
        match source.get(name):
            case None:
                pass
            case dict() as inner:
                kept[name] = keep_fields(
                    inner, [key for key in inner if not isinstance(inner[key], dict)][:20]
                )
            case value:
                kept[name] = str(value)[:KEPT_CHARS]
    return kept
