"""Digests: messages that a person wants gathered, by the hour, day or week of their own clock."""

from datetime import UTC, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from basalt.notify.quiet_hours import resolve_local

DigestFrequency = Literal["none", "hourly", "daily", "weekly"]

DIGEST_AT = time(8)  # of the morning, and on Mondays
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def find_digest_time(at: datetime, frequency: DigestFrequency, zone: ZoneInfo) -> datetime:
    """When what comes at `at` is told: with the next full hour, the next morning at eight, or the next Monday's.

    >>> vienna, at = ZoneInfo("Europe/Vienna"), datetime(2026, 1, 7, 12, 20, tzinfo=UTC)  # a Wednesday
    >>> for frequency in ("none", "hourly", "daily", "weekly"):
    ...     print(find_digest_time(at, frequency, vienna))
    2026-01-07 12:20:00+00:00
    2026-01-07 13:00:00+00:00
    2026-01-08 07:00:00+00:00
    2026-01-12 07:00:00+00:00
    """
    match frequency:
        case "none":
            return at
        case "hourly":
            return _find_full_hour(at, zone)
        case "daily":
            return _find_morning(at, zone, weekly=False)
        case "weekly":
            return _find_morning(at, zone, weekly=True)


def _find_full_hour(at: datetime, zone: ZoneInfo) -> datetime:
    """By the local clock: there are zones with half hours."""
    local = at.astimezone(zone)
    return at - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond) + HOUR


def _find_morning(at: datetime, zone: ZoneInfo, *, weekly: bool) -> datetime:
    day = at.astimezone(zone).date()
    while True:
        morning = resolve_local(day, DIGEST_AT, zone)
        if morning > at and (not weekly or day.weekday() == 0):
            return morning.astimezone(UTC)
        day += DAY
