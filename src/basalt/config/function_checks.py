"""What single values of a function's settings cannot tell: a schedule that no clock knows."""

from collections.abc import Iterator, Mapping
from zoneinfo import ZoneInfo

from basalt.config.cron_line import parse_cron_line
from basalt.config.settings import FunctionSettings


def find_function_problems(functions: Mapping[str, FunctionSettings]) -> Iterator[tuple[str, str]]:
    """Keys below `functions` with what is wrong with them."""
    for name, function in functions.items():
        if function.schedule is not None:
            try:
                parse_cron_line(function.schedule)
            except ValueError as exc:
                yield f"{name}.schedule", f"{function.schedule!r} is no schedule: {exc}"
        if not is_time_zone(function.timezone):
            yield (
                f"{name}.timezone",
                f"{function.timezone!r} is no time zone; use an IANA name such as Asia/Singapore",
            )


def is_time_zone(name: str) -> bool:
    """
    >>> [is_time_zone(name) for name in ("Asia/Singapore", "UTC", "Singapur", "../etc/passwd", "")]
    [True, True, False, False, False]
    """
    try:
        ZoneInfo(name)
    except (ValueError, KeyError, OSError):  # no path of the tz database, unknown, a folder
        return False
    return True
