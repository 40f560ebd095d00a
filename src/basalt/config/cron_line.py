"""A schedule as `cron.schedule` and `[functions.NAME] schedule` take it: five fields, `@daily` or `30 seconds`.

The grammar is pg_cron's (Vixie cron's, with `$` for the last day of a month). `cron.find_schedule_problem` in SQL says
the same of the same text, word by word.
"""

import re
from dataclasses import dataclass

LONGEST = 999  # characters; pg_cron's buffer
BLANKS = " \t\r\n"
INTERVAL = re.compile(r"([0-9]+)[ \t\r\n]*[sS][eE][cC][oO][nN][dD][sS]?")

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
AT_START = ("@reboot", "@restart")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True, slots=True)
class FieldLine:
    """Minute, hour, day of month, month and day of week, blank between them, all valid."""

    minute: str
    hour: str
    day: str
    month: str
    weekday: str


@dataclass(frozen=True, slots=True)
class IntervalLine:
    """Every so many seconds, from 1 to 59."""

    seconds: int


@dataclass(frozen=True, slots=True)
class StartLine:
    """Once after each start of PostgreSQL."""


CronLine = FieldLine | IntervalLine | StartLine


@dataclass(frozen=True, slots=True)
class _Field:
    label: str
    low: int
    high: int
    names: tuple[str, ...] = ()


FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, MONTHS),
    _Field("day of week", 0, 7, DAYS),
)


def parse_cron_line(text: str) -> CronLine:
    """Raises ValueError with the reason, which names the field.

    >>> parse_cron_line("*/5 9-17 * * mon-fri").hour
    '9-17'
    >>> parse_cron_line("@daily")
    FieldLine(minute='0', hour='0', day='*', month='*', weekday='*')
    >>> parse_cron_line(" 30 Seconds")
    IntervalLine(seconds=30)
    >>> parse_cron_line("0 24 * * *")
    Traceback (most recent call last):
    ValueError: hour: 24 is not from 0 to 23
    """
    if len(text) > LONGEST:
        raise ValueError(f"the schedule is longer than {LONGEST} characters")
    trimmed = text.strip(BLANKS)
    if not trimmed:
        raise ValueError("the schedule is empty")
    if interval := INTERVAL.fullmatch(trimmed):
        if len(interval[1]) > 9 or not 1 <= int(interval[1]) <= 59:
            raise ValueError(f"seconds: {interval[1]} is not from 1 to 59")
        return IntervalLine(int(interval[1]))
    if trimmed in AT_START:
        return StartLine()
    if trimmed.startswith("@") and trimmed not in NICKNAMES:
        raise ValueError(f"{trimmed} is not one of {', '.join([*NICKNAMES, *AT_START])}")
    parts = re.split(r"[ \t\r\n]+", NICKNAMES.get(trimmed, trimmed))
    if len(parts) != len(FIELDS):
        labels = ", ".join(field.label for field in FIELDS)
        raise ValueError(f"fields: {len(parts)} where 5 are expected: {labels}")
    for field, part in zip(FIELDS, parts, strict=True):
        _check_field(field, part)
    return FieldLine(*parts)


def _check_field(field: _Field, text: str) -> None:
    if field.label == "day of month" and text == "$":
        return
    for item in text.split(","):
        body, slash, step = item.partition("/")
        first, dash, last = body.partition("-")
        if body != "*":
            low = _check_value(field, first)
            if dash and low > _check_value(field, last):
                raise ValueError(f"{field.label}: the range {body} runs backwards")
        if slash and body != "*" and not dash:
            raise ValueError(f"{field.label}: the step of {item} needs a range or *")
        if slash and not _is_number(step, 1, field.high):
            raise ValueError(f"{field.label}: the step of {item} is not from 1 to {field.high}")


def _check_value(field: _Field, text: str) -> int:
    if text.lower() in field.names:
        return field.low + field.names.index(text.lower())
    if not re.fullmatch("[0-9]+", text):
        kinds = "neither a number nor a name" if field.names else "not a number"
        raise ValueError(f'{field.label}: "{text}" is {kinds}')
    if not _is_number(text, field.low, field.high):
        raise ValueError(f"{field.label}: {text} is not from {field.low} to {field.high}")
    return int(text)


def _is_number(text: str, low: int, high: int) -> bool:
    return re.fullmatch("[0-9]{1,9}", text) is not None and low <= int(text) <= high
