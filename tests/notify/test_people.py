"""What an event says of people who cannot be told: by a provider that there is not, in a language that nobody wrote."""

from typing import Any

import pytest

from basalt.postgres import DatabaseAccess
from tests.jobs.engines import Sql, connected
from tests.notify.engine import a_person, a_template, issue
from tests.notify.test_fan_out import expand

pytestmark = [pytest.mark.req("P13", "M8")]

PROBLEMS = "select error -> 'problems' from public.notification_events where id = %s"


async def problems_of(sql: Sql, access: DatabaseAccess, event_type: str, **arguments: Any) -> Any:
    event = await issue(sql, event_type, **arguments)
    await expand(access, event)
    return await sql.value(PROBLEMS, event)


async def test_a_provider_is_missing_only_where_the_event_could_have_used_it(
    notify_database: DatabaseAccess,
) -> None:
    async with connected(notify_database) as sql:
        ann = await a_person(sql)
        await sql.rows(
            "insert into public.notification_channels (user_id, channel, provider, address)"
            " values (%s, 'push', 'apns', 'token')",
            ann,
        )
        for event_type, channels in (("seen", ("in_app",)), ("both", ("in_app", "push"))):
            for channel in channels:
                await a_template(sql, event_type, channel, "Hello")
        missing = {"provider_missing": {"count": 1, "example": "nobody delivers to apns"}}
        assert await problems_of(sql, notify_database, "seen", subject_id=ann) is None
        assert await problems_of(sql, notify_database, "both", subject_id=ann, channels=["in_app"]) is None
        assert await problems_of(sql, notify_database, "both", subject_id=ann) == missing
        assert await sql.count("public.notifications") == 3


@pytest.mark.req("H21")
async def test_who_speaks_a_language_that_nobody_wrote_is_counted_and_the_others_are_told(
    notify_database: DatabaseAccess,
) -> None:
    async with connected(notify_database) as sql:
        await a_template(sql, "offer", "in_app", "Hallo", locale="de")
        ann, bob = await a_person(sql, locale="de-AT"), await a_person(sql, locale="tlh")
        told = await problems_of(sql, notify_database, "offer", audience={"user_ids": [ann, bob]})
        assert told == {"template_not_found": {"count": 1, "example": f"{bob}: no text in tlh"}}
        assert await sql.rows("select user_id::text, body from public.notifications") == [(ann, "Hallo")]
