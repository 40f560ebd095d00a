"""The engine inside the test's process, over a database of its own: jobs, dispatcher, and a courier in place of every
provider."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from psycopg.types.json import Jsonb

from basalt.config import Settings
from basalt.jobs import Handlers, JobEngine
from basalt.notify import Dispatcher, NotifyJobs, Ways
from basalt.postgres import DatabaseAccess, Pool
from basalt.senders import DeliverySender
from tests.fakes.courier import Courier, CourierSender, running_courier
from tests.jobs.engines import Sql, connected, settings_with

CONFIG = """
[notify]
enabled = true
environment = "production"
first_delay = 0.05
longest_delay = 0.2
max_attempts = 3
batch_size = 100
page_size = 50
[basalt.worker]
lease = 1
poll_interval = 0.05
drain_timeout = 5
[basalt.queues.notify]
first_delay = 0.05
longest_delay = 0.2
max_attempts = 4
"""


class Courierhouse:
    """Senders of these names, all of one courier. Each part that asks gets its own."""

    def __init__(self, url: str, names: tuple[str, ...] = ("fcm", "smtp", "twilio")) -> None:
        self.url = url
        self.names = names

    def build(self, settings: Settings, pool: Pool) -> Mapping[str, DeliverySender]:
        return {name: CourierSender(name, self.url) for name in self.names}


@asynccontextmanager
async def running_notify(
    access: DatabaseAccess, house: Courierhouse, config: str = ""
) -> AsyncIterator[None]:
    """Jobs and dispatcher until the end of the block."""
    settings = settings_with(CONFIG + config)
    stopping = asyncio.Event()
    async with AsyncExitStack() as stack:
        ways: Ways = {}
        jobs = NotifyJobs(settings, access, ways, build_senders=house.build)
        await jobs.open()
        stack.push_async_callback(jobs.close)
        engine = JobEngine(settings, access, Handlers(own=jobs.handlers))
        dispatcher = Dispatcher(settings, access, ways, build_senders=house.build)
        running = [asyncio.create_task(part.run(stopping)) for part in (engine, dispatcher)]
        try:
            yield
        finally:
            stopping.set()
            await asyncio.gather(*running)


@asynccontextmanager
async def an_engine(
    access: DatabaseAccess, config: str = "", *, knows_keys: bool = False
) -> AsyncIterator[tuple[Sql, Courier]]:
    """A running engine with a courier, and a connection to look at what it does."""
    with running_courier(knows_keys=knows_keys) as (courier, url):
        async with (
            connected(access) as sql,
            running_notify(access, Courierhouse(url), config),
        ):
            yield sql, courier


async def a_template(
    sql: Sql, event_type: str, channel: str, body: str, *, subject: str = "", locale: str = "en"
) -> None:
    await sql.rows(
        "insert into public.notification_templates (event_type, channel, locale, subject_template, body_template)"
        " values (%s, %s, %s, %s, %s)",
        event_type,
        channel,
        locale,
        subject,
        body,
    )


async def a_person(sql: Sql, *, email: str = "", phone: str = "", **meta: str) -> str:
    """A user with confirmed addresses where they are given."""
    return str(
        await sql.value(
            "insert into auth.users (id, aud, role, email, email_confirmed_at, phone, phone_confirmed_at,"
            " raw_user_meta_data) values (gen_random_uuid(), 'authenticated', 'authenticated', nullif(%s, ''),"
            " case when %s <> '' then now() end, nullif(%s, ''), case when %s <> '' then now() end, %s)"
            " returning id",
            email,
            email,
            phone,
            phone,
            Jsonb(meta),
        )
    )


async def a_device(sql: Sql, user_id: str, address: str) -> str:
    return str(
        await sql.value(
            "insert into public.notification_channels (user_id, channel, provider, address)"
            " values (%s, 'push', 'fcm', %s) returning id",
            user_id,
            address,
        )
    )


async def a_crowd(sql: Sql, count: int, prefix: str = "token") -> None:
    """People with a device each."""
    await sql.rows(
        "with people as (insert into auth.users (id, aud, role) select gen_random_uuid(), 'authenticated',"
        " 'authenticated' from generate_series(1, %s) returning id)"
        " insert into public.notification_channels (user_id, channel, provider, address)"
        " select p.id, 'push', 'fcm', %s || '-' || p.id from people as p",
        count,
        prefix,
    )


async def preferences(sql: Sql, user_id: str, **columns: Any) -> None:
    values = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in columns.items()}
    names = ", ".join(values)
    await sql.rows(
        f"insert into public.notification_preferences (user_id, {names})"
        f" values (%s, {', '.join(['%s'] * len(values))})",
        user_id,
        *values.values(),
    )


async def issue(sql: Sql, event_type: str, subject_id: str | None = None, **arguments: Any) -> str:
    """`issue_notification` with named arguments; dicts as JSON."""
    given = {"event_type": event_type, "subject_id": subject_id, **arguments}
    values = [Jsonb(value) if isinstance(value, dict) else value for value in given.values()]
    named = ", ".join(f"{name} => %s" for name in given)
    return str(await sql.value(f"select public.issue_notification({named})", *values))


EACH_STATUS = """
select coalesce(jsonb_object_agg(s.status, s.n), '{}')
from (select q.status, count(*) as n from public.notification_queue as q group by q.status) as s
"""
