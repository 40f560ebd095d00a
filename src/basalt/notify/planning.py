"""Who is told by which way and when: decisions without I/O, from an event, a person's preferences and addresses.

Which channels: those that the event names, else all for which it has a template; of these, what the person wants
(`preferences` has the shape). Where the event names channels, the others with a template are its fall-back, in the
order push, email, sms or in the person's own; one takes the place of a channel at which the person cannot be reached,
at once where there is no address, and later where all deliveries of the channel failed.

When: in-app at once, always. The rest is gathered for a digest, or waits for the next hour where the person's hourly
limit is reached, and for the end of quiet hours. Urgent events (priority 0) pass all three. A limit of 0 leaves in-app
alone.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Final, Literal

from msgspec import Struct

from basalt.notify.digests import HOUR, find_digest_time
from basalt.notify.preferences import CHANNELS, NO_PREFERENCES, NotifyChannel, Preferences
from basalt.notify.quiet_hours import find_end_of_quiet

FALLBACK_ORDER: Final[tuple[NotifyChannel, ...]] = ("push", "email", "sms")
URGENT: Final = 0
MOST_HOLDS = 1000  # of one message by limit and quiet hours: some weeks

RowStatus = Literal["pending", "held", "digest", "delivered"]


class Address(Struct, frozen=True, gc=False):
    """`provider` is who delivers to it; `channel_id` its row in `notification_channels`, where it has one."""

    provider: str
    address: str
    channel_id: str | None = None


Addresses = Mapping[NotifyChannel, Sequence[Address]]


class Recipient(Struct, frozen=True, gc=False):
    """`told` counts the events of which the person is told in an hour, by its beginning."""

    preferences: Preferences = NO_PREFERENCES
    addresses: Addresses = {}
    told: Mapping[datetime, int] = {}


class PlannedRow(Struct, frozen=True, gc=False):
    """`address` is None in-app. `fallback`: the channels that may take its place."""

    channel: NotifyChannel
    address: Address | None
    status: RowStatus
    scheduled_for: datetime
    fallback: tuple[NotifyChannel, ...] = ()


def plan_rows(
    event_type: str,
    channels: Sequence[NotifyChannel] | None,
    priority: int,
    available: AbstractSet[NotifyChannel],
    recipient: Recipient,
    now: datetime,
) -> list[PlannedRow]:
    """The rows of one person; `available` are the channels for which there is a template in the person's language.

    >>> from datetime import UTC
    >>> devices, mails = [Address("fcm", "t1"), Address("fcm", "t2")], [Address("smtp", "a@b.c")]
    >>> both, noon = Recipient(addresses={"push": devices, "email": mails}), datetime(2026, 1, 5, 12, tzinfo=UTC)
    >>> for row in plan_rows("gig.new", ["push"], 5, {"push", "email"}, both, noon):
    ...     print(row.channel, row.address.address, row.status, row.fallback)
    push t1 pending ('email',)
    push t2 pending ('email',)
    """
    preferences = recipient.preferences
    asked = CHANNELS if channels is None else tuple(dict.fromkeys(channels))
    wanted = [name for name in asked if name in available and preferences.wants(name, event_type)]
    external = [name for name in wanted if name != "in_app" and preferences.hourly_limit != 0]
    spare = _list_spare(event_type, asked, available, recipient) if external and channels is not None else []
    used: list[NotifyChannel] = []
    for name in external:
        if recipient.addresses.get(name):
            used.append(name)
        elif spare:
            used.append(spare.pop(0))
    rows = [PlannedRow("in_app", None, "delivered", now)] if "in_app" in wanted else []
    for channel in dict.fromkeys(used):
        status, at = plan_time(event_type, channel, priority, recipient, now)
        rows += [
            PlannedRow(channel, address, status, at, tuple(spare)) for address in recipient.addresses[channel]
        ]
    return rows


def plan_time(
    event_type: str, channel: NotifyChannel, priority: int, recipient: Recipient, now: datetime
) -> tuple[RowStatus, datetime]:
    """What holds a message back, and until when."""
    preferences = recipient.preferences
    if priority == URGENT:
        return "pending", now
    frequency = preferences.find_digest(channel, event_type)
    if frequency != "none":
        return "digest", find_digest_time(now, frequency, preferences.zone)
    at = find_send_time(now, recipient)
    return ("held", at) if at > now else ("pending", now)


def find_send_time(now: datetime, recipient: Recipient) -> datetime:
    """The first instant from `now` on with room in its hour and outside quiet hours.

    >>> from datetime import UTC
    >>> busy = Recipient(Preferences(hourly_limit=2), told={datetime(2026, 1, 5, 12, tzinfo=UTC): 2})
    >>> find_send_time(datetime(2026, 1, 5, 12, 20, tzinfo=UTC), busy)
    datetime.datetime(2026, 1, 5, 13, 0, tzinfo=datetime.timezone.utc)
    """
    limit, quiet = recipient.preferences.hourly_limit, recipient.preferences.quiet
    if limit is None and quiet is None:
        return now
    at = now
    for _ in range(MOST_HOLDS):
        hour = floor_hour(at)
        if limit is not None and recipient.told.get(hour, 0) >= limit:
            at = hour + HOUR
        elif quiet is not None and (end := find_end_of_quiet(at, quiet)) is not None:
            at = end
        else:
            break
    return at


def floor_hour(at: datetime) -> datetime:
    return at - timedelta(minutes=at.minute, seconds=at.second, microseconds=at.microsecond)


def _list_spare(
    event_type: str,
    asked: Sequence[NotifyChannel],
    available: AbstractSet[NotifyChannel],
    recipient: Recipient,
) -> list[NotifyChannel]:
    """Fall-back channels at which this person can be reached."""
    preferences = recipient.preferences
    order = preferences.find_fallback(event_type)
    return [
        name
        for name in dict.fromkeys(FALLBACK_ORDER if order is None else order)
        if name != "in_app"
        and name in available
        and name not in asked
        and preferences.wants(name, event_type)
        and recipient.addresses.get(name)
    ]
