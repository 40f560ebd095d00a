"""What has waited is looked at again before it leaves: for the end of quiet hours, for the next hour with room, for a
provider that was down. Meanwhile the device may have become somebody else's, the person may have left, switched the
channel off, or gone to sleep.

Only rows that were held or are over a minute old are asked about, one statement for a claim: what leaves at once was
planned a moment ago.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import orjson
from msgspec import Struct

from basalt.jobs import BY_INDEX, JobsDatabase
from basalt.notify.claiming import Claimed
from basalt.notify.planning import URGENT
from basalt.notify.preferences import Preferences, is_channel, parse_preferences
from basalt.notify.quiet_hours import find_end_of_quiet
from basalt.notify.settlement import RowEnd, Settlement
from basalt.postgres import Query

LOAD_PEOPLE = """
select u.id::text, (
        select coalesce(json_agg(json_build_array(a.channel, a.address)), '[]')
        from basalt.notification_addresses(u, array['email', 'push', 'sms']) as a),
    case when p.user_id is not null then jsonb_build_object(
        'channel_settings', p.channel_settings, 'rate_limit_per_hour', p.rate_limit_per_hour,
        'quiet_hours_start', p.quiet_hours_start, 'quiet_hours_end', p.quiet_hours_end, 'timezone', p.timezone) end
from auth.users as u
left join public.notification_preferences as p on p.user_id = u.id
where u.id = any ($1::uuid[]) and u.deleted_at is null
"""


class Reached(Struct, frozen=True):
    """A person as of now. `addresses` are pairs of a channel and an address."""

    preferences: Preferences
    addresses: frozenset[tuple[str, str]]


class Reviewer:
    def __init__(self, database: JobsDatabase) -> None:
        self._database = database

    async def review(self, rows: Sequence[Claimed]) -> dict[int, Settlement]:
        """The rows that do not leave now, by id, and what becomes of them."""
        waited = [row for row in rows if row.waiting_type is not None]
        if not waited:
            return {}
        people = await self._load({row.user_id for row in waited})
        now = datetime.now(UTC)
        ends = {row.id: judge(row, people.get(row.user_id), now) for row in waited}
        return {row_id: end for row_id, end in ends.items() if end is not None}

    async def _load(self, user_ids: set[str]) -> Mapping[str, Reached]:
        ids = f"{{{','.join(user_ids)}}}".encode()
        _, answer = await self._database.execute([BY_INDEX, Query(LOAD_PEOPLE, (ids,))])
        return {(row[0] or b"").decode(): _read(row[1], row[2]) for row in answer.rows}


def judge(row: Claimed, person: Reached | None, now: datetime) -> Settlement | None:
    """None where it may leave, or is over in any case; `person` is None where there is no account any more."""
    channel = row.channel
    if row.ttl_s is not None and row.ttl_s <= 0:
        return None
    if person is None:
        return _end(row, "cancelled", "user_unknown")
    wants = person.preferences
    if (is_channel(channel) and not wants.wants(channel, row.waiting_type or "")) or wants.hourly_limit == 0:
        return _end(row, "cancelled", "not_wanted")
    if (channel, row.address) not in person.addresses:
        return _end(row, "failed", "address_gone")
    if wants.quiet is not None and row.priority != URGENT and (end := find_end_of_quiet(now, wants.quiet)):
        delay_s = (end - now).total_seconds()
        return Settlement(row.id, row.attempt, "held", delay_s=delay_s, is_uncounted=True)
    return None


def _end(row: Claimed, status: RowEnd, error_code: str) -> Settlement:
    return Settlement(row.id, row.attempt, status, error_code=error_code, is_uncounted=True)


def _read(addresses: bytes | None, preferences: bytes | None) -> Reached:
    known = orjson.loads(addresses or b"[]")
    return Reached(
        parse_preferences(orjson.loads(preferences or b"null")),
        frozenset((channel, address) for channel, address in known),
    )
