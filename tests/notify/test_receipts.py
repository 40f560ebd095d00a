"""What became of messages of which the provider says so only when it is asked."""

from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pytest
from psycopg.rows import dict_row

from basalt.config import ExpoSettings
from basalt.http import OutgoingClient
from basalt.jobs import Job
from basalt.notify.receipts import ReceiptGatherer
from basalt.notify.upkeep import CALL_FOR_RECEIPTS
from basalt.postgres import DatabaseAccess, open_pool
from basalt.senders import Delivery
from basalt.senders.expo import ExpoSender
from tests.fakes.expo import ACCESS_TOKEN, FakeExpo
from tests.fakes.small_server import small_server

from .conftest import a_user

pytestmark = pytest.mark.req("P13", "M4")

ADD_CHANNEL = """
insert into public.notification_channels (user_id, channel, provider, address) values (%s, 'push', 'expo', %s)
returning id
"""
ADD_DELIVERY = """
with event as (
    insert into public.notification_events (event_type, subject_id, status) values ('gig.new', %(user)s, 'expanded')
    returning id),
message as (
    insert into public.notification_queue (event_id, user_id, channel, channel_id, provider, address, status, attempts)
    select e.id, %(user)s, 'push', %(channel)s, 'expo', %(address)s, 'sent', 1 from event as e
    returning id)
insert into public.notification_deliveries (queue_id, attempt, provider, status, provider_message_id, created_at)
select m.id, 1, 'expo', 'accepted', %(ticket)s, now() - make_interval(mins => %(age)s) from message as m
"""


@pytest.fixture
def sql(notify_database: DatabaseAccess) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with psycopg.connect(
        notify_database.conninfo("postgres"), autocommit=True, row_factory=dict_row
    ) as connection:
        yield connection


async def test_receipts_are_gathered_once_they_are_there(
    notify_database: DatabaseAccess, sql: psycopg.Connection[dict[str, Any]]
) -> None:
    fake = FakeExpo(receipts={"gone": "DeviceNotRegistered", "silent": None})
    ages = {"old": 3000, "fine": 20, "gone": 30, "silent": 20, "early": 5}
    with small_server(fake.answer) as url:
        settings = ExpoSettings(enabled=True, access_token=ACCESS_TOKEN, api_url=url, rate_per_s=0)
        sender = ExpoSender(settings, OutgoingClient())
        user = a_user(sql)
        for device, age in ages.items():
            address = f"ExponentPushToken[app:{device}]"
            [outcome] = await sender.deliver([Delivery(f"k.{device}", address)])
            row = sql.execute(ADD_CHANNEL, [user, address]).fetchone()
            assert row is not None
            sql.execute(
                ADD_DELIVERY,
                {
                    "user": user,
                    "channel": row["id"],
                    "address": address,
                    "ticket": outcome.message_id,
                    "age": age,
                },
            )
        async with open_pool(notify_database.conninfo("postgres"), max_size=2, name="test") as pool:
            gatherer = ReceiptGatherer(pool, {"expo": sender})
            assert await gatherer.gather(cast(Job, None)) == {"applied": 2}
            fake.receipts["silent"] = ""
            assert await gatherer.gather(cast(Job, None)) == {"applied": 1}
        await sender.close()
    rows = sql.execute(
        "select split_part(provider_message_id, '-', 2) as device, status from public.notification_deliveries"
    )
    assert {row["device"]: row["status"] for row in rows} == {
        "fine": "delivered",
        "gone": "bounced",
        "silent": "delivered",
        "early": "accepted",
        "old": "accepted",
    }
    disabled = sql.execute("select address from public.notification_channels where not is_enabled").fetchall()
    assert [row["address"] for row in disabled] == ["ExponentPushToken[app:gone]"]
    asked = [ticket.split("-")[1] for ids in fake.asked_receipts for ticket in ids]
    assert sorted(asked) == ["fine", "gone", "silent", "silent"]


def test_one_job_at_a_time_gathers_them(sql: psycopg.Connection[dict[str, Any]]) -> None:
    for _ in range(3):
        sql.execute(cast(Any, CALL_FOR_RECEIPTS.sql))
    rows = sql.execute(
        "select state, run_at > now() + interval '4 minutes' as is_later from basalt.jobs"
        " where name = 'basalt.notify.receipts'"
    ).fetchall()
    assert rows == [{"state": "scheduled", "is_later": True}]
