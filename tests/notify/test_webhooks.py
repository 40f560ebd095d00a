"""Providers' webhooks over the network: whose signature is right is believed, once and in any order; what is wrong with
one request, or with one entry of it, costs nothing else."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from basalt.access import Authoriser, load_project_keys
from basalt.gateway import Gateway
from basalt.gateway.limits import RequestLimits
from basalt.notify import NotifyService, is_signed
from basalt.notify.measures import REPORTS
from basalt.postgres import DatabaseAccess
from basalt.senders import report_readers
from tests.fakes.resend import SECRET, sign_event
from tests.fakes.sendgrid import EventSigner
from tests.fakes.twilio import TOKEN, sign_callback
from tests.gateway.serving import serving
from tests.jobs.engines import Sql, connected
from tests.notify.engine import a_person
from tests.projects import settings_of, write_project

pytestmark = [pytest.mark.req("H25", "M8")]

PUBLIC_URL = "https://api.habits.example"
SIGNER = EventSigner()
CONFIG = f"""
[api]
external_url = "{PUBLIC_URL}"
[notify]
enabled = true
environment = "production"
[notify.providers.resend]
api_key = "re_1"
from = "hi@habits.example"
webhook_secret = "{SECRET}"
[notify.providers.sendgrid]
webhook_public_key = "{SIGNER.public_key}"
[notify.providers.twilio]
account_sid = "AC1"
auth_token = "{TOKEN}"
from = "MG1"
[basalt.rate_limit]
anonymous_per_minute = 5
"""
STATES = (
    "select d.provider_message_id, d.status, q.status from public.notification_deliveries as d"
    " join public.notification_queue as q on q.id = d.queue_id order by 1"
)
ADD_MESSAGE = """
with event as (
    insert into public.notification_events (event_type, subject_id, status) values ('streak', %s, 'expanded')
    returning id, subject_id),
queued as (
    insert into public.notification_queue (event_id, user_id, channel, address, provider, status, finished_at)
    select id, subject_id, 'email', 'ada@example.com', %s, 'sent', now() from event returning id, provider)
insert into public.notification_deliveries (queue_id, attempt, provider, status, provider_message_id)
select id, 1, provider, 'accepted', %s from queued
"""

Signed = tuple[dict[str, str], bytes]


@dataclass(frozen=True)
class Hooks:
    """The service, and the database behind it."""

    http: httpx2.AsyncClient
    sql: Sql
    person: str

    async def sent(self, provider: str, *message_ids: str) -> None:
        for message_id in message_ids:
            await self.sql.rows(ADD_MESSAGE, self.person, provider, message_id)

    async def post(self, provider: str, signed: Signed, **changes: Any) -> httpx2.Response:
        headers, body = signed
        return await self.http.post(
            f"/{provider}",
            headers={**headers, **changes.get("headers", {})},
            content=changes.get("body", body),
        )

    async def states(self) -> dict[str, tuple[str, str]]:
        return {row[0]: (row[1], row[2]) for row in await self.sql.rows(STATES)}


@asynccontextmanager
async def running_hooks(folder: Path, access: DatabaseAccess, config: str = "") -> AsyncIterator[Hooks]:
    settings = settings_of(write_project(folder, {"config.toml": CONFIG + config}))
    authoriser = Authoriser(load_project_keys(settings.state_dir, settings))
    gateway = Gateway(
        {"/notify/v1": NotifyService(settings, authoriser, access, report_readers(settings))},
        RequestLimits(
            settings.basalt.rate_limit, authoriser, trusts_header=True, passes={"/notify/v1": is_signed}
        ),
        base_url=settings.api_url,
        max_body_bytes=settings.basalt.max_body_bytes,
    )
    async with (
        serving(gateway) as url,
        httpx2.AsyncClient(base_url=f"{url}/notify/v1/webhooks", timeout=30) as http,
        connected(access) as sql,
    ):
        yield Hooks(http, sql, await a_person(sql, email="ada@example.com"))


@pytest.fixture
async def hooks(tmp_path: Path, notify_database: DatabaseAccess) -> AsyncIterator[Hooks]:
    async with running_hooks(tmp_path, notify_database) as hooks:
        yield hooks


def now() -> int:
    return int(time.time())


def resend(
    kind: str, message_id: str = "m-1", *, webhook_id: str = "msg_1", sent_at: int | None = None
) -> Signed:
    event = {"type": f"email.{kind}", "created_at": "2026-01-01T10:00:00Z", "data": {"email_id": message_id}}
    return sign_event(event, sent_at=sent_at or now(), webhook_id=webhook_id)


def sendgrid_event(kind: str, message_id: str = "m-1", **changes: Any) -> dict[str, Any]:
    return {"event": kind, "basalt_delivery": message_id, "sg_event_id": f"{kind}-{message_id}", **changes}


def sendgrid(*events: Any, sent_at: int | None = None) -> Signed:
    return SIGNER.sign(list(events), sent_at=sent_at or now())


def twilio(status: str, message_id: str = "m-1", *, url: str = PUBLIC_URL) -> Signed:
    form = {"MessageSid": message_id, "MessageStatus": status, "AccountSid": "AC1"}
    return sign_callback(f"{url}/notify/v1/webhooks/twilio", form)


DELIVERED: dict[str, Callable[[], Signed]] = {
    "resend": lambda: resend("delivered"),
    "sendgrid": lambda: sendgrid(sendgrid_event("delivered")),
    "twilio": lambda: twilio("delivered"),
}
OPENED: dict[str, Callable[[], Signed]] = {
    "resend": lambda: resend("opened", webhook_id="msg_2"),
    "sendgrid": lambda: sendgrid(sendgrid_event("open")),
    "twilio": lambda: twilio("read"),
}
BOUNCED: dict[str, Callable[[], Signed]] = {
    "resend": lambda: resend("bounced", webhook_id="msg_3"),
    "sendgrid": lambda: sendgrid(sendgrid_event("bounce", type="bounce")),
    "twilio": lambda: twilio("undelivered"),
}
ENDS = {"resend": "bounced", "sendgrid": "bounced", "twilio": "failed"}
SIGNATURES = {
    "resend": "svix-signature",
    "sendgrid": "x-twilio-email-event-webhook-signature",
    "twilio": "x-twilio-signature",
}


def error_of(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.mark.parametrize("provider", DELIVERED)
async def test_a_forgery_is_refused_and_changes_nothing(hooks: Hooks, provider: str) -> None:
    await hooks.sent(provider, "m-1")
    signed = BOUNCED[provider]()
    other = DELIVERED[provider]()
    for changes in (
        {"headers": {SIGNATURES[provider]: "v1,AAAA"}},
        {"headers": {SIGNATURES[provider]: ""}},
        {"headers": {SIGNATURES[provider]: other[0][SIGNATURES[provider]]}},
        {"body": signed[1].replace(b"m-1", b"m-2")},
    ):
        assert error_of(await hooks.post(provider, signed, **changes)) == (401, "report_forged")
    assert await hooks.states() == {"m-1": ("accepted", "sent")}
    assert (await hooks.post(provider, other)).json() == {"applied": 1, "unknown": 0, "refused": 0}


@pytest.mark.parametrize("provider", DELIVERED)
async def test_a_replay_changes_nothing(hooks: Hooks, provider: str) -> None:
    await hooks.sent(provider, "m-1")
    old = DELIVERED[provider]()
    for signed in (old, OPENED[provider](), old, old):
        assert (await hooks.post(provider, signed)).status_code == 200
    assert await hooks.states() == {"m-1": ("opened", "delivered")}


async def test_a_replay_of_long_ago_is_refused(hooks: Hooks) -> None:
    await hooks.sent("resend", "m-1")
    for provider, signed in (
        ("resend", resend("bounced", sent_at=now() - 600)),
        ("resend", resend("bounced", sent_at=now() + 600)),
        ("sendgrid", sendgrid(sendgrid_event("bounce"), sent_at=now() - 2 * 86_400)),
        ("sendgrid", sendgrid(sendgrid_event("bounce"), sent_at=now() + 600)),
    ):
        assert error_of(await hooks.post(provider, signed)) == (401, "report_forged")
    assert await hooks.states() == {"m-1": ("accepted", "sent")}


@pytest.mark.parametrize("provider", DELIVERED)
async def test_states_come_in_any_order(hooks: Hooks, provider: str) -> None:
    await hooks.sent(provider, "m-1")
    for signed, state in (
        (OPENED[provider](), ("opened", "delivered")),
        (DELIVERED[provider](), ("opened", "delivered")),
        (BOUNCED[provider](), (ENDS[provider], "failed")),
        (DELIVERED[provider](), (ENDS[provider], "failed")),
        (OPENED[provider](), (ENDS[provider], "failed")),
    ):
        assert (await hooks.post(provider, signed)).json()["applied"] == 1
        assert await hooks.states() == {"m-1": state}


@pytest.mark.parametrize("provider", DELIVERED)
async def test_a_report_about_a_strangers_message_is_no_error(hooks: Hooks, provider: str) -> None:
    await hooks.sent(provider, "m-2")
    for _ in range(2):
        answer = await hooks.post(provider, BOUNCED[provider]())
        assert answer.json() == {"applied": 0, "unknown": 1, "refused": 0}
    assert await hooks.states() == {"m-2": ("accepted", "sent")}


async def test_one_providers_report_is_nothing_to_anothers_message(hooks: Hooks) -> None:
    await hooks.sent("sendgrid", "m-1")
    assert (await hooks.post("resend", resend("bounced"))).json()["unknown"] == 1
    assert error_of(await hooks.post("sendgrid", resend("bounced"))) == (401, "report_forged")
    assert error_of(await hooks.post("vonage", resend("bounced"))) == (404, "report_provider_not_found")
    assert await hooks.states() == {"m-1": ("accepted", "sent")}


@pytest.mark.parametrize("provider", DELIVERED)
async def test_10_mb_are_not_read(hooks: Hooks, provider: str) -> None:
    async def drip() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield b"x" * 65_536

    for body in (b"x" * 10_000_000, drip()):
        answer = await hooks.http.post(f"/{provider}", content=body)
        assert error_of(answer) == (413, "payload_too_large")
        assert answer.json()["error"]["hint"] == "Send less at once"  # no setting raises this limit
    assert (await hooks.post(provider, DELIVERED[provider]())).status_code == 200


@pytest.mark.parametrize("provider", DELIVERED)
async def test_what_the_body_is_called_does_not_matter(hooks: Hooks, provider: str) -> None:
    """The signature is over its bytes."""
    await hooks.sent(provider, "m-1")
    for kind in ("text/plain", "multipart/form-data; boundary=x", "x" * 500, ""):
        answer = await hooks.post(provider, DELIVERED[provider](), headers={"content-type": kind})
        assert answer.json()["applied"] == 1, kind


async def test_a_signed_body_of_another_kind_is_an_error(hooks: Hooks) -> None:
    for provider, signed in (
        ("resend", sign_event(b"MessageSid=m-1&MessageStatus=read", sent_at=now())),
        ("resend", sign_event(["no event"], sent_at=now())),
        ("resend", sign_event(b"[" * 100_000, sent_at=now())),
        ("sendgrid", SIGNER.sign(b"\xff\xfe", sent_at=now())),
        ("sendgrid", SIGNER.sign({"event": "open"}, sent_at=now())),
        ("twilio", sign_callback(f"{PUBLIC_URL}/notify/v1/webhooks/twilio", {"AccountSid": "AC1"})),
    ):
        assert error_of(await hooks.post(provider, signed)) == (400, "report_invalid"), (provider, signed)


async def test_a_body_of_another_kind_that_nobody_signed_is_a_forgery(hooks: Hooks) -> None:
    body = b'{"MessageSid": "m-1"}'
    for provider in DELIVERED:
        answer = await hooks.post(provider, ({"content-type": "application/json"}, body))
        assert error_of(answer) == (401, "report_forged")


async def test_twilio_signs_the_address_that_it_was_told(hooks: Hooks) -> None:
    await hooks.sent("twilio", "m-1")
    for url in ("http://127.0.0.1:54321", "https://evil.example"):
        answer = await hooks.post("twilio", twilio("failed", url=url), headers={"host": "evil.example"})
        assert error_of(answer) == (401, "report_forged")
    assert (await hooks.post("twilio", twilio("read"), headers={"host": "evil.example"})).json()[
        "applied"
    ] == 1


async def test_one_bad_entry_costs_its_batch_nothing(hooks: Hooks) -> None:
    """Not even one for which a trigger of the app's raises."""
    ids = [f"m-{number}" for number in range(40)]
    await hooks.sent("sendgrid", *ids)
    await hooks.sql.rows(
        "create function public.dislike() returns trigger language plpgsql as $$ begin"
        " if new.provider_message_id = 'm-13' then raise exception 'I do not like it'; end if; return new; end $$"
    )
    await hooks.sql.rows(
        "create trigger dislike before update on public.notification_deliveries"
        " for each row execute function public.dislike()"
    )
    answer = await hooks.post(
        "sendgrid",
        sendgrid(
            "nonsense",
            None,
            *(sendgrid_event("delivered", one, reason="\0") for one in ids),
            sendgrid_event("delivered", "nul\0nul"),
            {"event": ["delivered"], "basalt_delivery": "m-1"},
            {"event": "delivered", "basalt_delivery": {"$ne": None}},
            sendgrid_event("delivered", "m-1", timestamp="yesterday", sg_event_id=["x"] * 1000),
            sendgrid_event("delivered", "m-1", timestamp=10**30),
        ),
    )
    assert answer.json() == {"applied": 41, "unknown": 1, "refused": 1}
    assert await hooks.states() == {
        one: ("accepted", "sent") if one == "m-13" else ("delivered", "delivered") for one in ids
    }


@pytest.mark.req("P17")
async def test_reports_are_counted_by_provider_and_outcome(hooks: Hooks) -> None:
    def told() -> Counter[str]:
        return Counter(
            {one.labels[1]: int(one.value) for one in REPORTS.samples() if one.labels[0] == "resend"}
        )

    before = told()
    await hooks.sent("resend", "m-1")
    await hooks.post("resend", resend("delivered"))
    await hooks.post("resend", resend("delivered", "m-2"))
    await hooks.post("resend", resend("delivered"), body=b"{}")
    await hooks.post("resend", sign_event([], sent_at=now()))
    assert told() - before == {"applied": 1, "unknown": 1, "forged": 1, "invalid": 1}


@pytest.mark.req("P15")
async def test_the_limit_for_visitors_is_not_for_webhooks_and_a_rule_for_them_is(
    tmp_path: Path, notify_database: DatabaseAccess
) -> None:
    rule = '[basalt.rate_limit.rules.hooks]\npaths = ["/notify/v1/webhooks"]\nlimit = 12\ncount_by = ["ip"]\n'
    async with running_hooks(tmp_path, notify_database, rule) as hooks:
        answers = [await hooks.post("resend", resend("scheduled")) for _ in range(12)]
        assert {answer.status_code for answer in answers} == {200}
        refused = await hooks.post("resend", resend("scheduled"))
        assert error_of(refused) == (429, "rate_limit_exceeded")
        assert refused.json()["error"]["details"] == {"rule": "hooks"}
        assert int(refused.headers["retry-after"]) >= 1
