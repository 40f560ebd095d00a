"""Schedules as text and as instants: the grammar in Python and in SQL, next ticks over changes of clocks."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from basalt.config import FieldLine, parse_cron_line
from basalt.jobs.cron.ticks import decide_claim, find_next_tick
from basalt.postgres import DatabaseAccess

pytestmark = pytest.mark.req("P11")

Connection = psycopg.Connection[tuple[Any, ...]]

VALID = [
    "* * * * *",
    "*/5 * * * *",
    "0 0 * * 1-5",
    "5,10-20/2 9-17 1,15 jan,MAR-jun Mon-fri",
    "0 12 $ * *",
    "0 1 * * 7",
    "  30 3\t* * 6 ",
    "\n0 0 29 2 *\n",
    "*/59 */23 */31 */12 */7",
    "@hourly",
    "@daily",
    "@midnight",
    "@weekly",
    "@monthly",
    "@yearly",
    "@annually",
    "@reboot",
    "1 second",
    " 30 sEcOnDs ",
    "17  seconds",
    "59seconds",
]
INVALID = {
    "": "the schedule is empty",
    " \t": "the schedule is empty",
    "* * * *": "fields: 4 where 5 are expected: minute, hour, day of month, month, day of week",
    "* * * * * *": "fields: 6 where 5 are expected: minute, hour, day of month, month, day of week",
    "60 * * * *": "minute: 60 is not from 0 to 59",
    "-1 * * * *": 'minute: "" is not a number',
    "* 24 * * *": "hour: 24 is not from 0 to 23",
    "* * 0 * *": "day of month: 0 is not from 1 to 31",
    "* * 32 * *": "day of month: 32 is not from 1 to 31",
    "* * $1 * *": 'day of month: "$1" is not a number',
    "* * * 13 *": "month: 13 is not from 1 to 12",
    "* * * 0 *": "month: 0 is not from 1 to 12",
    "* * * foo *": 'month: "foo" is neither a number nor a name',
    "* * * * 8": "day of week: 8 is not from 0 to 7",
    "* * * * monday": 'day of week: "monday" is neither a number nor a name',
    "*/0 * * * *": "minute: the step of */0 is not from 1 to 59",
    "*/60 * * * *": "minute: the step of */60 is not from 1 to 59",
    "*/5000000000 * * * *": "minute: the step of */5000000000 is not from 1 to 59",
    "*/x * * * *": "minute: the step of */x is not from 1 to 59",
    "5/10 * * * *": "minute: the step of 5/10 needs a range or *",
    "20-10 * * * *": "minute: the range 20-10 runs backwards",
    "* * * * fri-sun": "day of week: the range fri-sun runs backwards",
    "1,,2 * * * *": 'minute: "" is not a number',
    "*5 * * * *": 'minute: "*5" is not a number',
    "0 seconds": "seconds: 0 is not from 1 to 59",
    "60 seconds": "seconds: 60 is not from 1 to 59",
    "10000000000 seconds": "seconds: 10000000000 is not from 1 to 59",
    "5 secondc": "fields: 2 where 5 are expected: minute, hour, day of month, month, day of week",
    "@restar": "@restar is not one of "
    "@yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly, @reboot, @restart",
    "a" * 1000: "the schedule is longer than 999 characters",
}


def problem_of(text: str) -> str | None:
    try:
        parse_cron_line(text)
    except ValueError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def session(template: DatabaseAccess, clone_database: Any) -> Iterator[Connection]:
    with (
        clone_database(template.dbname) as access,
        psycopg.connect(access.conninfo("postgres"), autocommit=True) as connection,
    ):
        connection.execute("create extension pg_cron")
        yield connection


def problem_in_sql(session: Connection, text: str) -> str | None:
    row = session.execute("select cron.find_schedule_problem(%s)", [text]).fetchone()
    assert row is not None
    problem: str | None = row[0]
    return problem


@pytest.mark.parametrize("text", VALID)
def test_what_pg_cron_takes_is_taken(session: Connection, text: str) -> None:
    assert problem_of(text) is None
    assert problem_in_sql(session, text) is None


@pytest.mark.parametrize(("text", "reason"), INVALID.items())
def test_what_cannot_be_read_is_named(session: Connection, text: str, reason: str) -> None:
    assert problem_of(text) == reason
    assert problem_in_sql(session, text) == reason


field = st.one_of(
    st.sampled_from(
        ["*", "$", "*/5", "1-5", "mon", "JAN-dec", "1-5/2", "0", "7", "31", "*/0", "", "L", "5/2", "fri-mon"]
    ),
    st.text("0123456789*/-,$", min_size=1, max_size=6),
    st.integers(0, 70).map(str),
    st.lists(st.integers(0, 35).map(str), min_size=1, max_size=3).map(",".join),
)
line = st.one_of(
    st.lists(field, min_size=4, max_size=6).map(" ".join),
    st.lists(field, min_size=5, max_size=5).map("\t".join),
    st.text("0123456789 seconds@hourlydaily\n", max_size=14),
    st.builds("{} {}".format, st.integers(0, 70), st.sampled_from(["seconds", "second", "SECONDS", "sec"])),
    st.text(max_size=12).filter(lambda text: "\0" not in text and text.isprintable()),
)


@given(line)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sql_and_python_agree_about_every_text(session: Connection, text: str) -> None:
    assert problem_in_sql(session, text) == problem_of(text)


@lru_cache
def values_of(text: str, low: int, high: int, names: str = "") -> set[int]:
    """A field by the manual of Vixie's cron, read plainly."""
    found: set[int] = set()
    for item in text.lower().split(","):
        body, _, step = item.partition("/")
        for place, name in enumerate(names.split()):
            body = body.replace(name, str(place + low))
        first, _, last = (f"{low}-{high}" if body == "*" else body).partition("-")
        found |= set(range(int(first), int(last or first) + 1, int(step or 1)))
    return found


def is_tick(fields: FieldLine, at: datetime) -> bool:
    days = {7 if at.isoweekday() == 7 else at.isoweekday(), at.isoweekday() % 7}
    is_last = (at + timedelta(days=1)).day == 1
    in_month = is_last if fields.day == "$" else at.day in values_of(fields.day, 1, 31)
    in_week = bool(days & values_of(fields.weekday, 0, 7, "sun mon tue wed thu fri sat"))
    both = fields.day.startswith("*") or fields.weekday.startswith("*")
    return (
        at.minute in values_of(fields.minute, 0, 59)
        and at.hour in values_of(fields.hour, 0, 23)
        and at.month in values_of(fields.month, 1, 12, "jan feb mar apr may jun jul aug sep oct nov dec")
        and (in_month and in_week if both else in_month or in_week)
    )


step = st.sampled_from(["*", "*/7", "*/20", "3", "0-30/9", "59", "1,4,40"])
good = st.builds(
    FieldLine,
    minute=step,
    hour=st.sampled_from(["*", "*/5", "0", "3-6", "23", "2,14"]),
    day=st.sampled_from(["*", "$", "1", "*/9", "28-30", "31"]),
    month=st.sampled_from(["*", "feb", "*/3", "11", "jan-MAR,12"]),
    weekday=st.sampled_from(["*", "sun", "7", "*/2", "mon-fri", "1,3"]),
)


@given(good, st.datetimes(datetime(2027, 1, 1), datetime(2028, 12, 31)))
@settings(max_examples=60, deadline=None)
def test_the_next_tick_is_the_first_minute_that_matches(fields: FieldLine, start: datetime) -> None:
    after = start.replace(tzinfo=UTC)
    found = find_next_tick(fields, "UTC", after=after, anchor=after)
    minute = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    horizon = minute + timedelta(days=3)
    while minute < horizon and not is_tick(fields, minute):
        minute += timedelta(minutes=1)
    if minute < horizon:
        assert found == minute
    else:
        assert found is None or found >= horizon


def ticks(text: str, zone: str, start: str, count: int) -> list[str]:
    """Local times with their offset, beginning after a local time."""
    after = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    anchor, found = after, []
    for _ in range(count):
        following = find_next_tick(parse_cron_line(text), zone, after=after, anchor=anchor)
        assert following is not None
        found.append(following.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M%z"))
        after = following
    return found


def test_a_day_begins_when_it_does_in_singapore() -> None:
    assert ticks("0 0 * * *", "Asia/Singapore", "2026-11-26T12:00", 2) == [
        "11-27 00:00+0800",
        "11-28 00:00+0800",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 2 * * *", ["03-29 03:00+0200", "03-30 02:30+0200"]),
        ("0,30 2 * * *", ["03-29 03:00+0200", "03-30 02:00+0200", "03-30 02:30+0200"]),
        ("0 2,3 * * *", ["03-29 03:00+0200", "03-30 02:00+0200", "03-30 03:00+0200"]),
        ("0 * * * *", ["03-29 01:00+0100", "03-29 03:00+0200", "03-29 04:00+0200"]),
        ("*/30 * * * *", ["03-29 01:00+0100", "03-29 01:30+0100", "03-29 03:00+0200", "03-29 03:30+0200"]),
    ],
)
def test_in_the_gap_of_spring_a_fixed_time_runs_once_and_patterns_follow_the_hours(
    text: str, expected: list[str]
) -> None:
    assert ticks(text, "Europe/Berlin", "2026-03-29T00:45", len(expected)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 2 * * *", ["10-25 02:30+0200", "10-26 02:30+0100"]),
        ("0 * * * *", ["10-25 02:00+0200", "10-25 02:00+0100", "10-25 03:00+0100"]),
        (
            "*/30 * * * *",
            [
                "10-25 02:00+0200",
                "10-25 02:30+0200",
                "10-25 02:00+0100",
                "10-25 02:30+0100",
                "10-25 03:00+0100",
            ],
        ),
    ],
)
def test_in_the_doubled_hour_of_autumn_a_fixed_time_runs_once_and_patterns_follow_the_hours(
    text: str, expected: list[str]
) -> None:
    assert ticks(text, "Europe/Berlin", "2026-10-25T01:45", len(expected)) == expected


def test_a_fixed_time_planned_in_the_second_of_two_equal_hours_is_not_in_the_past() -> None:
    second = datetime(2026, 10, 25, 1, 15, tzinfo=UTC)  # 02:15 for the second time
    found = find_next_tick(parse_cron_line("50 2 * * *"), "Europe/Berlin", after=second, anchor=second)
    assert found == datetime(2026, 10, 26, 1, 50, tzinfo=UTC)


def test_intervals_keep_to_their_grid() -> None:
    anchor = datetime(2026, 11, 26, 12, 0, 0, 250_000, tzinfo=UTC)
    late = anchor + timedelta(seconds=61.7)
    found = find_next_tick(parse_cron_line("7 seconds"), "UTC", after=late, anchor=anchor)
    assert found == anchor + timedelta(seconds=63)


def test_a_day_that_never_comes_has_no_tick() -> None:
    now = datetime(2026, 11, 26, tzinfo=UTC)
    assert find_next_tick(parse_cron_line("0 0 30 2 *"), "UTC", after=now, anchor=now) is None


NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "late_s", "missed", "is_due", "next_s"),
    [
        ("0 * * * *", 0.1, "skip", True, 3600),
        ("0 * * * *", 9, "skip", True, 3600),
        ("0 * * * *", 11, "skip", False, 3600),
        ("0 * * * *", 11, "once", True, 3600),
        ("0 * * * *", 3 * 3600 + 60, "once", True, 4 * 3600),
        ("0 * * * *", 3 * 3600 + 60, "skip", False, 4 * 3600),
        ("1 second", 4, "skip", True, 1),
        ("1 second", 3600, "skip", False, 3591),
        ("1 second", 3600, "once", True, 3601),
        ("@reboot", 3600, "skip", True, None),
    ],
)
def test_what_becomes_of_a_tick_that_is_found_late(
    text: str, late_s: float, missed: Any, is_due: bool, next_s: float | None
) -> None:
    claim = decide_claim(
        parse_cron_line(text), "UTC", tick=NOON, now=NOON + timedelta(seconds=late_s), missed=missed
    )
    assert claim.is_due is is_due
    assert claim.next_tick == (None if next_s is None else NOON + timedelta(seconds=next_s))
