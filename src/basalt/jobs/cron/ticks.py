"""When a schedule is due: decisions over instants, without a clock.

Times of day are the schedule's zone's. As in Debian's cron, which `cronsim` follows, a line whose minute or hour begins
with `*` follows elapsed time over a change of clocks, and one with fixed times runs once: at the first of two such
instants, or right after the gap that swallowed it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from basalt.config import CronLine, FieldLine, IntervalLine, StartLine, parse_cron_line

# A tick that is found this late is not missed yet: a worker was restarted, the database was away for a moment.
GRACE = timedelta(seconds=10)

Missed = Literal["skip", "once"]

read_line = lru_cache(maxsize=4096)(parse_cron_line)


@dataclass(frozen=True, slots=True)
class Claim:
    """What becomes of a tick that has passed: whether it runs, and which tick comes next."""

    is_due: bool
    next_tick: datetime | None


def find_next_tick(line: CronLine, zone: str, *, after: datetime, anchor: datetime) -> datetime | None:
    """The first tick after an instant; None where none comes within fifty years, or only a start brings one. Intervals
    count from `anchor`, which is any of their ticks.

    >>> noon = datetime(2026, 11, 26, 12, tzinfo=UTC)
    >>> find_next_tick(parse_cron_line("0 9 * * *"), "Asia/Singapore", after=noon, anchor=noon).isoformat()
    '2026-11-27T01:00:00+00:00'
    >>> late = noon + timedelta(seconds=64)
    >>> find_next_tick(parse_cron_line("30 seconds"), "UTC", after=late, anchor=noon).isoformat()
    '2026-11-26T12:01:30+00:00'
    """
    match line:
        case IntervalLine(seconds):
            step = timedelta(seconds=seconds)
            return anchor + ((after - anchor) // step + 1) * step
        case FieldLine():
            return _find_next_of_fields(line, zone, after)
        case StartLine():
            return None


def decide_claim(line: CronLine, zone: str, *, tick: datetime, now: datetime, missed: Missed) -> Claim:
    """`tick` has passed. Within `GRACE` each has its run; of those that are older none has one, or all together."""
    is_late = now - tick > GRACE and not isinstance(line, StartLine)
    if not is_late:
        return Claim(True, find_next_tick(line, zone, after=tick, anchor=tick))
    if missed == "once":
        return Claim(True, find_next_tick(line, zone, after=now, anchor=tick))
    return Claim(False, find_next_tick(line, zone, after=now - GRACE, anchor=tick))


def _find_next_of_fields(line: FieldLine, zone: str, after: datetime) -> datetime | None:
    day = "L" if line.day == "$" else line.day
    text = f"{line.minute} {line.hour} {day} {line.month} {line.weekday}"
    local = after.astimezone(UTC if zone in ("UTC", "GMT") else ZoneInfo(zone))
    try:
        for tick in CronSim(text, local):
            if tick > after:  # in the hour that occurs twice it begins with the first one
                return tick.astimezone(UTC)
    except CronSimError:  # a day that no month has
        return None
    return None
