"""Who an event concerns: found once and kept (`basalt.notification_recipients`), then read in pages by user id.

Everyone is not copied: those pages come from `auth.users`, and include who signs up meanwhile with a later id. A
routine is asked as `service_role`, once, so that what it answers may change between pages.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
import psycopg
from msgspec import Struct
from psycopg.sql import SQL, Composed, Identifier
from psycopg.types.json import Jsonb

from basalt.notify.event import Connection, Event, EventError
from basalt.notify.preferences import CHANNELS, NotifyChannel

ROUTINE_TIMEOUT: Final = "60s"
ROUTINE_NAME: Final = re.compile(r'([^".]+)\.([^".]+)')

ADD_USERS: Final = """
insert into basalt.notification_recipients (event_id, user_id)
select %(event_id)s, w.id
from (select distinct value::uuid as id from jsonb_array_elements_text(%(user_ids)s) where value ~* %(uuid)s) as w
on conflict do nothing
"""
UUID_PATTERN: Final = "^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$"
FIND_ROUTINE: Final = """
select exists (
    select from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
    where n.nspname = %s and p.proname = %s and p.proretset and p.prorettype = 'uuid'::regtype
        and p.proargtypes = array['jsonb'::regtype::oid]::oidvector) as is_known
"""
BEGIN_ROUTINE: Final = """
select set_config('role', 'service_role', true), set_config('statement_timeout', %s, true)
"""
END_ROUTINE: Final = "select set_config('role', %s, true), set_config('statement_timeout', '0', true)"

# Two ways to the next ids; from there on everything is by primary key.
PAGE_OF_EVERYONE: Final = """
    select u.id from auth.users as u
    where u.id > %(cursor)s and u.deleted_at is null
    order by u.id limit %(limit)s
"""
PAGE_OF_RECIPIENTS: Final = """
    select r.user_id as id from basalt.notification_recipients as r
    where r.event_id = %(event_id)s and r.user_id > %(cursor)s
    order by r.user_id limit %(limit)s
"""
THESE: Final = "select distinct id from unnest(%(user_ids)s::uuid[]) as ids(id)"
LOAD_PAGE: Final = """
with page as materialized ({})
select p.id::text as user_id,
    case when u.id is not null then (
        select coalesce(json_agg(json_build_array(a.channel, a.provider, a.address, a.channel_id)), '[]')::text
        from basalt.notification_addresses(u, %(channels)s) as a) end as addresses,
    coalesce(pr.locale, substring(
        replace(u.raw_user_meta_data ->> 'locale', '_', '-') from '^[a-z]{{2,3}}(?:-[A-Za-z0-9]{{2,8}}){{0,3}}$'))
        as locale,
    left(coalesce(u.raw_user_meta_data ->> 'name', u.raw_user_meta_data ->> 'full_name', ''), 200) as name,
    case when pr.user_id is not null then jsonb_build_object(
        'channel_settings', pr.channel_settings, 'digest_frequency', pr.digest_frequency,
        'rate_limit_per_hour', pr.rate_limit_per_hour, 'quiet_hours_start', pr.quiet_hours_start,
        'quiet_hours_end', pr.quiet_hours_end, 'timezone', pr.timezone) end as preferences
from page as p
left join auth.users as u on u.id = p.id and u.deleted_at is null
left join public.notification_preferences as pr on pr.user_id = p.id
order by p.id
"""
LOAD_TOLD: Final = """
select q.user_id::text as user_id, date_trunc('hour', q.scheduled_for, 'UTC') as hour,
    count(distinct q.event_id) as count
from public.notification_queue as q
where q.user_id = any (%(user_ids)s::uuid[]) and q.channel <> 'in_app' and q.event_id <> %(event_id)s
    and q.scheduled_for >= date_trunc('hour', now(), 'UTC') and q.status not in ('digest', 'cancelled', 'expired')
group by q.user_id, hour
"""
# One at a time decides how many messages an hour brings to somebody who limits them.
LOCK_LIMITED: Final = """
select count(pg_advisory_xact_lock(hashtextextended(u.id::text, 1650553714)))
from (select id from unnest(%s::uuid[]) as ids(id) order by id) as u
"""


class Person(Struct, frozen=True, gc=False):
    """`preferences` and `addresses` ([channel, provider, address, channel_id]) as they are stored. Who has no account,
    or none any more, has None for addresses."""

    user_id: str
    addresses: Sequence[Sequence[str | None]] | None
    locale: str | None
    name: str
    preferences: Mapping[str, Any] | None


async def stage_recipients(connection: Connection, event: Event) -> None:
    """Find the recipients of an event that does not go to everyone. Raises EventError audience_invalid or
    audience_failed; the transaction then goes on as if nothing had been asked."""
    audience = event.audience or {"user_ids": [event.subject_id]}
    match audience:
        case {"everyone": True}:
            return
        case {"user_ids": list() as user_ids}:
            params = {"event_id": event.id, "user_ids": Jsonb(user_ids), "uuid": UUID_PATTERN}
            await connection.execute(ADD_USERS, params)
        case {"routine": str() as name}:
            await _ask_routine(connection, event.id, name, audience.get("arguments") or {})
        case _:
            raise EventError("audience_invalid", "The audience names no user_ids, routine or everyone")


async def load_page(
    connection: Connection, event: Event, cursor: str, limit: int, channels: Sequence[NotifyChannel]
) -> list[Person]:
    """The next people after `cursor`, by id, with their addresses for these channels."""
    is_everyone = event.audience is not None and event.audience.get("everyone") is True
    statement = LOAD_PAGE.format(PAGE_OF_EVERYONE if is_everyone else PAGE_OF_RECIPIENTS)
    params = {"event_id": event.id, "cursor": cursor, "limit": limit, "channels": list(channels)}
    return await _load_people(connection, statement, params)


async def load_people(connection: Connection, user_ids: Sequence[str]) -> list[Person]:
    """These people, by id, with all their addresses."""
    params = {"user_ids": list(user_ids), "channels": list(CHANNELS)}
    return await _load_people(connection, LOAD_PAGE.format(THESE), params)


async def _load_people(connection: Connection, statement: str, params: Mapping[str, Any]) -> list[Person]:
    rows = await connection.execute(statement.encode(), params)
    return [
        Person(
            row["user_id"],
            None if row["addresses"] is None else orjson.loads(row["addresses"]),
            row["locale"],
            row["name"],
            row["preferences"],
        )
        for row in await rows.fetchall()
    ]


async def load_told(
    connection: Connection, event_id: str, user_ids: Sequence[str]
) -> dict[str, dict[Any, int]]:
    """How many other events people with an hourly limit are told of in this hour and those to come. Nobody else may add
    to it until the transaction ends."""
    if not user_ids:
        return {}
    await connection.execute(LOCK_LIMITED, [list(user_ids)])
    rows = await connection.execute(LOAD_TOLD, {"user_ids": list(user_ids), "event_id": event_id})
    told: dict[str, dict[Any, int]] = {}
    for row in await rows.fetchall():
        told.setdefault(row["user_id"], {})[row["hour"]] = row["count"]
    return told


async def _ask_routine(
    connection: Connection, event_id: str, name: str, arguments: Mapping[str, Any]
) -> None:
    match = ROUTINE_NAME.fullmatch(name)
    if match is None:
        raise EventError("audience_invalid", f"{name} is no name of a routine with its schema")
    known = await (await connection.execute(FIND_ROUTINE, match.groups())).fetchone()
    if known is None or not known["is_known"]:
        raise EventError("audience_invalid", f"There is no routine {name}(jsonb) that returns setof uuid")
    owner = await (await connection.execute("select current_user as name")).fetchone()
    assert owner is not None
    try:
        async with connection.transaction():
            await connection.execute(BEGIN_ROUTINE, [ROUTINE_TIMEOUT])
            await connection.execute(_build_call(*match.groups()), [event_id, Jsonb(arguments)])
            await connection.execute(END_ROUTINE, [owner["name"]])
    except psycopg.OperationalError as error:
        if error.sqlstate != "57014":
            raise  # the database is away, not the routine wrong
        raise EventError("audience_failed", f"{name} took longer than {ROUTINE_TIMEOUT}") from error
    except psycopg.Error as error:
        raise EventError("audience_failed", f"{name}: {error.diag.message_primary or error}") from error


def _build_call(schema: str, name: str) -> Composed:
    return SQL(
        "insert into basalt.notification_recipients (event_id, user_id) "
        "select distinct %s::uuid, u from {}.{}(%s) as u where u is not null on conflict do nothing"
    ).format(Identifier(schema), Identifier(name))
