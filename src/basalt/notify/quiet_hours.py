"""Quiet hours: from when until when a person's own clock asks for silence.

A window is a span of real time: it begins when the clock first shows its start and ends when the clock last shows its
end. So it is an hour longer in the night in which clocks are set back, and where a time is skipped the moment after
the gap counts. A window whose start is later than its end goes across midnight; one that ends as it starts is none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class QuietHours:
    start: time
    end: time
    zone: ZoneInfo


def find_zone(name: str) -> ZoneInfo | None:
    """The time zone of that name; None where there is none.

    >>> find_zone("Europe/Vienna"), find_zone("../etc/passwd"), find_zone("Mars/Olympus")
    (zoneinfo.ZoneInfo(key='Europe/Vienna'), None, None)
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def find_end_of_quiet(at: datetime, quiet: QuietHours) -> datetime | None:
    """When the silence that holds at `at` ends; None where there is none. Instants are UTC.

    >>> night = QuietHours(time(22), time(7), ZoneInfo("Europe/Vienna"))
    >>> find_end_of_quiet(datetime(2026, 1, 5, 23, 30, tzinfo=UTC), night)
    datetime.datetime(2026, 1, 6, 6, 0, tzinfo=datetime.timezone.utc)
    >>> find_end_of_quiet(datetime(2026, 1, 6, 6, 0, tzinfo=UTC), night) is None
    True
    """
    if quiet.start == quiet.end:
        return None
    until = at
    while (
        later := max((end for start, end in _windows(until, quiet) if start <= until < end), default=None)
    ) is not None:
        until = later  # where clocks are set back one window may begin before the last one has ended
    return until if until > at else None


def resolve_local(day: date, clock: time, zone: ZoneInfo, *, last: bool = False) -> datetime:
    """The instant at which clocks of `zone` show that time: where they show it twice the first or the `last` time,
    where they skip it the moment at which they do.

    >>> vienna = ZoneInfo("Europe/Vienna")
    >>> resolve_local(date(2026, 3, 29), time(2, 30), vienna)
    datetime.datetime(2026, 3, 29, 1, 0, tzinfo=datetime.timezone.utc)
    >>> [resolve_local(date(2026, 10, 25), time(2, 30), vienna, last=last).hour for last in (False, True)]
    [0, 1]
    """
    local = datetime.combine(day, clock.replace(tzinfo=None))
    by_offset_before = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    by_offset_after = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    if by_offset_after < by_offset_before:
        return _find_change(by_offset_after, by_offset_before, zone)
    return by_offset_after if last else by_offset_before


def _windows(at: datetime, quiet: QuietHours) -> Iterator[tuple[datetime, datetime]]:
    """Those that may hold at `at`."""
    today = at.astimezone(quiet.zone).date()
    length = DAY if quiet.start > quiet.end else timedelta()
    for day in (today - DAY, today, today + DAY):
        start = resolve_local(day, quiet.start, quiet.zone)
        end = resolve_local(day + length, quiet.end, quiet.zone, last=True)
        yield start, end


def _find_change(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """The first instant after `low` with the offset of `high`, to the second."""
    after = high.astimezone(zone).utcoffset()
    seconds_low, seconds_high = 0, int((high - low).total_seconds())
    while seconds_high - seconds_low > 1:
        middle = (seconds_low + seconds_high) // 2
        if (low + timedelta(seconds=middle)).astimezone(zone).utcoffset() == after:
            seconds_high = middle
        else:
            seconds_low = middle
    return low + timedelta(seconds=seconds_high)
