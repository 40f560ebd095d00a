"""The Inbox takes every channel, in batches, once; and gives them back in their order."""

import time
from collections.abc import AsyncIterator

import psycopg
import pytest

from basalt.postgres import DatabaseAccess, Pool, open_pool
from basalt.senders import Delivery, InboxDeliverySender, load_inbox, parse_place

pytestmark = pytest.mark.req("P13")


@pytest.fixture
async def pool(database: DatabaseAccess) -> AsyncIterator[Pool]:
    async with open_pool(database.conninfo("postgres"), max_size=2, name="test") as pool:
        yield pool


def a_mail(key: str, body: str = "") -> Delivery:
    return Delivery(key, "ada@example.com", body=body, channel="email")


async def test_every_channel_is_kept_as_it_is(pool: Pool) -> None:
    deliveries = [
        Delivery(
            "d-1", "ada@example.com", subject="Streak", body="Go on", html="<b>Go on</b>", channel="email"
        ),
        Delivery("d-2", "+4917012345678", subject="Unseen", body="Go on \0 ü", channel="sms"),
        Delivery(
            "d-3",
            "token:1",
            subject="Streak",
            body="Go on",
            data={"image": "https://habits.example/1.png", "nul": "\0"},
            badge=3,
            ttl_s=60.0,
            request_id="req-7",
            channel="push",
        ),
        Delivery("d-4", "user-1", subject="Streak", body="Go on", channel="in_app"),
    ]
    outcomes = await InboxDeliverySender(pool).deliver(deliveries)
    assert {(outcome.verdict, outcome.message_id) for outcome in outcomes} == {
        ("delivered", f"d-{number}") for number in (1, 2, 3, 4)
    }
    messages = (await load_inbox(pool)).messages
    assert [message.channel for message in messages] == ["in_app", "push", "sms", "email"]
    _, push, text, mail = messages
    assert (mail.subject, mail.text, mail.html) == ("Streak", "Go on", "<b>Go on</b>")
    assert (text.subject, text.text, text.html) == (None, "Go on � ü", None)
    assert push.data == {"image": "https://habits.example/1.png", "nul": "�"}
    assert push.details == {"key": "d-3", "badge": 3, "ttl_s": 60.0, "request_id": "req-7"}


async def test_what_is_delivered_again_after_a_crash_is_one_message(pool: Pool) -> None:
    inbox = InboxDeliverySender(pool)
    for _ in range(2):
        outcomes = await inbox.deliver([a_mail(f"d-{number}") for number in range(3)])
        assert len(outcomes) == 3
    assert len((await load_inbox(pool)).messages) == 3


async def test_what_cannot_be_kept_is_tried_again(pool: Pool, database: DatabaseAccess) -> None:
    with psycopg.connect(database.conninfo("supabase_admin")) as connection:
        connection.execute("drop table basalt.inbox_messages")
    [outcome] = await InboxDeliverySender(pool).deliver([a_mail("d-1")])
    assert (outcome.verdict, outcome.error_code) == ("retry", "inbox_unavailable")


async def test_a_fan_out_does_not_crawl(pool: Pool) -> None:
    inbox = InboxDeliverySender(pool)
    started = time.monotonic()
    for page in range(5):
        await inbox.deliver([a_mail(f"d-{page}-{number}", body="x" * 200) for number in range(1000)])
    assert time.monotonic() - started < 10  # 0.3 s on an idle machine
    assert len((await load_inbox(pool, limit=500)).messages) == 500


async def test_pages_go_on_where_they_ended(pool: Pool) -> None:
    inbox = InboxDeliverySender(pool)
    await inbox.deliver([a_mail(f"d-{number}", body=str(number)) for number in range(25)])
    seen: list[str] = []
    page = await load_inbox(pool, limit=10)
    while True:
        seen += [message.text for message in page.messages]
        if page.next is None:
            break
        page = await load_inbox(pool, limit=10, before=parse_place(str(page.next)))
    assert seen == [str(number) for number in reversed(range(25))]


@pytest.mark.parametrize("text", ["x", "-1", "1_2_3", "1_2026-03-01_" + "-" * 36, "9" * 30, "1;drop"])
def test_a_place_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"place|UUID|isoformat"):
        parse_place(text)
