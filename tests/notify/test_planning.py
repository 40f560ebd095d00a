"""Who is told by which way and when, as tables; and quiet hours of clocks that are put forward and back."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basalt.notify.digests import find_digest_time
from basalt.notify.planning import Address, PlannedRow, Recipient, find_send_time, floor_hour, plan_rows
from basalt.notify.preferences import Preferences, parse_preferences
from basalt.notify.quiet_hours import QuietHours, find_end_of_quiet, resolve_local

pytestmark = [pytest.mark.req("P13")]

ZONES = (
    "UTC",
    "Europe/Vienna",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "America/Havana",
    "Pacific/Apia",
)
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)  # a Monday
ALL = frozenset({"in_app", "email", "push", "sms"})
REACHED: dict[str, list[Address]] = {
    "push": [Address("fcm", "t1"), Address("apns", "t2")],
    "email": [Address("smtp", "a@b.c")],
    "sms": [Address("twilio", "+43")],
}

instants = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(
    lambda at: at.replace(tzinfo=UTC, microsecond=0)
)
clocks = st.builds(time, st.integers(0, 23), st.sampled_from([0, 1, 15, 30, 45, 59]))
zones = st.sampled_from(ZONES).map(ZoneInfo)


def plan(
    *,
    channels: Sequence[Any] | None = None,
    settings: Any = None,
    priority: int = 5,
    addresses: Any = None,
    available: Any = ALL,
    **columns: Any,
) -> list[PlannedRow]:
    row = {"channel_settings": settings or {}, **columns}
    recipient = Recipient(parse_preferences(row), REACHED if addresses is None else addresses)
    return plan_rows("gig.new", channels, priority, available, recipient, NOON)


def ways(rows: Sequence[PlannedRow]) -> list[str]:
    return [row.channel for row in rows]


@pytest.mark.req("H22")
def test_all_channels_with_a_template_are_used_once_per_address() -> None:
    assert ways(plan()) == ["in_app", "email", "push", "push", "sms"]
    assert ways(plan(available={"push"})) == ["push", "push"]
    assert ways(plan(channels=["sms", "sms"])) == ["sms"]


@pytest.mark.req("H22")
def test_what_somebody_does_not_want_is_not_replaced() -> None:
    assert ways(plan(settings={"push": {"enabled": False}, "sms": {"enabled": False}})) == ["in_app", "email"]
    assert plan(channels=["push"], settings={"push": {"enabled": False}}) == []
    assert plan(settings={"events": {"gig.new": {"enabled": False}}}) == []


@pytest.mark.req("H22")
def test_what_is_said_about_an_event_counts_more() -> None:
    settings = {"push": {"enabled": False}, "events": {"gig.new": {"channels": ["push"], "digest": "none"}}}
    rows = plan(settings=settings, digest_frequency="daily")
    assert [(row.channel, row.status) for row in rows] == [("push", "pending"), ("push", "pending")]


@pytest.mark.req("H24")
def test_who_has_no_address_is_told_by_the_next_channel_at_once() -> None:
    mails = {"email": REACHED["email"], "sms": REACHED["sms"]}
    rows = plan(channels=["push"], addresses=mails)
    assert [(row.channel, row.fallback) for row in rows] == [("email", ("sms",))]
    rows = plan(channels=["push"], addresses=mails, settings={"fallback": ["sms"]})
    assert [(row.channel, row.fallback) for row in rows] == [("sms", ())]
    assert plan(channels=["push"], addresses=mails, settings={"fallback": []}) == []
    assert plan(channels=["push"], addresses={}) == []
    assert ways(plan(channels=["in_app"], addresses=mails)) == ["in_app"]


@pytest.mark.req("H22")
def test_the_app_shows_at_once_what_else_is_held() -> None:
    night = {"quiet_hours_start": "11:00", "quiet_hours_end": "13:00"}
    rows = plan(channels=["in_app", "email"], **night)
    assert [(row.status, row.scheduled_for) for row in rows] == [
        ("delivered", NOON),
        ("held", NOON + timedelta(hours=1)),
    ]
    rows = plan(channels=["in_app", "email"], digest_frequency="hourly")
    assert [row.status for row in rows] == ["delivered", "digest"]
    assert [
        row.status for row in plan(channels=["email"], digest_frequency="daily", priority=0, **night)
    ] == ["pending"]


@pytest.mark.req("H22")
def test_a_limit_of_nothing_leaves_the_app() -> None:
    assert ways(plan(rate_limit_per_hour=0)) == ["in_app"]


@pytest.mark.req("H22", "M8")
def test_who_is_told_nothing_is_told_nothing_urgent_either() -> None:
    off = {channel: {"enabled": False} for channel in ALL}
    assert plan(settings=off, priority=0) == []
    assert plan(settings={"events": {"gig.new": {"channels": []}}}, priority=0) == []
    assert ways(plan(rate_limit_per_hour=0, priority=0)) == ["in_app"]
    # An event that is on by a channel that is off is on.
    assert ways(plan(settings={**off, "events": {"gig.new": {"channels": ["sms"]}}})) == ["sms"]


@pytest.mark.req("H22")
def test_quiet_hours_of_a_whole_day_end_every_day() -> None:
    (row,) = plan(channels=["email"], quiet_hours_start="00:00", quiet_hours_end="24:00:00")
    assert (row.status, row.scheduled_for.date()) == ("held", NOON.date())
    (row,) = plan(channels=["email"], quiet_hours_start="12:00", quiet_hours_end="11:59")
    assert (row.status, row.scheduled_for) == ("held", NOON + timedelta(hours=23, minutes=59))


@pytest.mark.req("H22")
def test_a_full_hour_holds_until_one_with_room_outside_quiet_hours() -> None:
    quiet = QuietHours(time(13), time(14, 30), ZoneInfo("UTC"))
    full = Preferences(hourly_limit=1, quiet=quiet)
    told = {NOON: 1, NOON + timedelta(hours=2): 1}
    assert find_send_time(NOON, Recipient(full, told=told)) == NOON + timedelta(hours=3)


@given(at=instants, start=clocks, end=clocks, zone=zones)
@pytest.mark.req("H22")
def test_quiet_hours_end_outside_of_quiet_hours(at: datetime, start: time, end: time, zone: ZoneInfo) -> None:
    quiet = QuietHours(start, end, zone)
    until = find_end_of_quiet(at, quiet)
    if until is None:
        return
    assert at < until <= at + timedelta(hours=51)
    assert find_end_of_quiet(until, quiet) is None
    assert find_end_of_quiet(until - timedelta(seconds=1), quiet) == until
    local = until.astimezone(zone)
    shown = (local.replace(tzinfo=None) - timedelta(seconds=1)).time()
    assert local.time().replace(tzinfo=None) == end or shown < end < local.time()  # the clock skipped it


@given(at=instants, start=clocks, end=clocks, zone=zones)
@pytest.mark.req("H22")
def test_on_days_of_24_hours_the_clock_alone_decides(
    at: datetime, start: time, end: time, zone: ZoneInfo
) -> None:
    offsets = {(at + timedelta(days=days)).astimezone(zone).utcoffset() for days in range(-3, 4)}
    if len(offsets) > 1:
        return
    shown = at.astimezone(zone).time()
    is_quiet = start <= shown < end if start <= end else shown >= start or shown < end
    assert (find_end_of_quiet(at, QuietHours(start, end, zone)) is not None) == is_quiet


@pytest.mark.req("H22")
@pytest.mark.parametrize(
    ("start", "end", "at", "until"),
    [
        # Vienna puts the clock forward on 29 March 2026 at 2, and back on 25 October at 3.
        ("22:00", "07:00", "2026-03-28T22:00", "2026-03-29T05:00"),
        ("22:00", "07:00", "2026-10-24T21:00", "2026-10-25T06:00"),
        ("01:00", "02:30", "2026-03-29T00:30", "2026-03-29T01:00"),  # half past two is skipped
        ("02:15", "06:00", "2026-03-29T01:00", "2026-03-29T04:00"),
        (
            "23:00",
            "02:30",
            "2026-10-25T00:00",
            "2026-10-25T01:30",
        ),  # half past two comes twice: the second counts
        ("02:45", "06:00", "2026-10-25T00:50", "2026-10-25T05:00"),  # and of a quarter to three the first
        ("00:00", "12:00", "2026-07-01T21:59", None),
        ("12:00", "12:00", "2026-07-01T10:00", None),
    ],
)
def test_quiet_hours_where_clocks_change(start: str, end: str, at: str, until: str | None) -> None:
    quiet = QuietHours(time.fromisoformat(start), time.fromisoformat(end), ZoneInfo("Europe/Vienna"))
    found = find_end_of_quiet(datetime.fromisoformat(f"{at}+00:00"), quiet)
    assert found == (until and datetime.fromisoformat(f"{until}+00:00"))


@given(at=instants, zone=zones, frequency=st.sampled_from(["hourly", "daily", "weekly"]))
@pytest.mark.req("H23", "M5")
def test_a_digest_comes_soon_and_at_its_time(at: datetime, zone: ZoneInfo, frequency: Any) -> None:
    due = find_digest_time(at, frequency, zone)
    local = due.astimezone(zone)
    longest = {"hourly": timedelta(hours=1), "daily": timedelta(hours=49), "weekly": timedelta(days=8)}
    assert at < due <= at + longest[frequency]
    if frequency != "hourly":
        assert local.time() == time(8)
    if frequency == "weekly":
        assert local.weekday() == 0


@given(
    at=instants,
    limit=st.integers(1, 3),
    counts=st.lists(st.integers(0, 4), max_size=12),
    zone=zones,
    start=clocks,
    end=clocks,
)
@pytest.mark.req("H22")
def test_nothing_is_sent_in_a_full_hour_or_a_quiet_one(
    at: datetime, limit: int, counts: list[int], zone: ZoneInfo, start: time, end: time
) -> None:
    quiet = QuietHours(start, end, zone)
    told = {floor_hour(at) + timedelta(hours=number): count for number, count in enumerate(counts)}
    due = find_send_time(at, Recipient(Preferences(hourly_limit=limit, quiet=quiet), told=told))
    assert due >= at
    assert told.get(floor_hour(due), 0) < limit
    assert find_end_of_quiet(due, quiet) is None


def test_a_day_that_was_left_out_has_no_morning() -> None:
    """Samoa went from 29 to 31 December 2011."""
    apia = ZoneInfo("Pacific/Apia")
    assert resolve_local(date(2011, 12, 30), time(8), apia) == datetime(2011, 12, 30, 10, tzinfo=UTC)


@pytest.mark.req("H22")
@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"channel_settings": []}, None),
        ({"channel_settings": "all"}, "channel_settings is no object"),
        ({"channel_settings": {"pigeon": {}}}, "there is no channel pigeon"),
        ({"channel_settings": {"push": True}}, "push is no object"),
        ({"channel_settings": {"events": {"a": {"channels": "push"}}}}, "events.a.channels is no list"),
        (
            {"channel_settings": {"events": {"a": {"channels": ["fax"]}}}},
            "events.a.channels: there is no channel fax",
        ),
        (
            {"channel_settings": {"email": {"digest": "yearly"}}},
            "email.digest is none of none, hourly, daily, weekly",
        ),
        ({"timezone": "Mars/Olympus"}, "there is no time zone Mars/Olympus"),
    ],
)
def test_preferences_that_cannot_be_read_are_named_and_the_rest_counts(
    row: dict[str, Any], problem: str | None
) -> None:
    parsed = parse_preferences({"rate_limit_per_hour": 7, **row})
    assert parsed.hourly_limit == 7
    assert parsed.problems == ((problem,) if problem else ())
