"""Providers that answer what is not so, or not at all: a message is never called sent that may not be, none is lost
for an operator's mistake, and nobody waits longer than there is reason to."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from basalt.config import (
    ExpoSettings,
    FcmSettings,
    MessageBirdSettings,
    MixpanelSettings,
    OneSignalSettings,
    ResendSettings,
    SendGridSettings,
    TextLocalSettings,
    TwilioMessageSettings,
    VonageSettings,
)
from basalt.http import OutgoingClient
from basalt.senders import Delivery, MixpanelSender, Outcome, TextSender, TrackedEvent, form_api
from basalt.senders.expo import ExpoSender
from basalt.senders.fcm import FcmSender
from basalt.senders.messagebird import MessageBirdSender
from basalt.senders.onesignal import OneSignalSender
from basalt.senders.resend import ResendSender
from basalt.senders.sendgrid import SendGridSender
from basalt.senders.text_delivery import TextDeliverySender
from basalt.senders.textlocal import TextLocalSender
from basalt.senders.twilio_messages import TwilioMessageSender
from basalt.senders.vonage import VonageSender
from tests.fakes.fcm import FakeFcm
from tests.fakes.small_server import Received, Reply, small_server

pytestmark = pytest.mark.req("P13")

PACKED = gzip.compress(bytes(100 * 1024 * 1024), 1)
MAIL = {"api_key": "key", "sender": "hi@habits.example"}
Build = Callable[[str, OutgoingClient, float], Any]


def with_timeout(sender: Any, timeout_s: float) -> Any:
    sender._client._timeout_s = timeout_s
    return sender


def texts(build: Callable[[str, OutgoingClient], TextSender]) -> Build:
    return lambda url, http, _: TextDeliverySender("texts", build(url, http), http)


PUSH: dict[str, Build] = {
    "expo": lambda url, http, s: with_timeout(
        ExpoSender(ExpoSettings(enabled=True, api_url=url, rate_per_s=0), http), s
    ),
    "onesignal": lambda url, http, s: with_timeout(
        OneSignalSender(OneSignalSettings(app_id="a", api_key="k", api_url=url), http), s
    ),
}
MAILS: dict[str, Build] = {
    "resend": lambda url, http, s: ResendSender(
        ResendSettings(**MAIL, api_url=url, rate_per_s=0), http, timeout_s=s
    ),
    "sendgrid": lambda url, http, s: SendGridSender(SendGridSettings(**MAIL, api_url=url), http, timeout_s=s),
}
TEXTS: dict[str, Build] = {
    "twilio": lambda url, http, s: TwilioMessageSender(
        TwilioMessageSettings(account_sid="AC1", auth_token="t", sender="MG1", api_url=url), http, timeout_s=s
    ),
}
OF_AUTH: dict[str, Build] = {
    "messagebird": texts(
        lambda url, http: MessageBirdSender(
            MessageBirdSettings(originator="H", access_key="k", api_url=url), http
        )
    ),
    "textlocal": texts(
        lambda url, http: TextLocalSender(TextLocalSettings(sender="H", api_key="k", api_url=url), http)
    ),
    "vonage": texts(
        lambda url, http: VonageSender(
            VonageSettings(sender="H", api_key="k", api_secret="s", api_url=url), http
        )
    ),
}
OWN = {**PUSH, **MAILS, **TEXTS}
ALL = {**OWN, **OF_AUTH}
ADDRESSES: Mapping[str, str] = {
    **dict.fromkeys(PUSH, "ExponentPushToken[app:one]"),
    **dict.fromkeys(MAILS, "ada@example.com"),
    **dict.fromkeys([*TEXTS, *OF_AUTH], "+4917012345678"),
}


@dataclass
class Liar:
    """A provider that always gives the same answer; `asked` is how often it was."""

    http: OutgoingClient
    url: str = ""
    reply: Reply = field(default_factory=Reply)
    asked: int = 0

    def answer(self, _: Received) -> Reply:
        self.asked += 1
        return self.reply

    async def deliver(
        self, name: str, reply: Reply, *, count: int = 1, timeout_s: float = 5.0
    ) -> list[Outcome]:
        """What becomes of so many messages, by a sender that has not heard of it before."""
        self.reply, self.asked = reply, 0
        sender = ALL[name](self.url, self.http, timeout_s)
        deliveries = [
            Delivery(f"d-{number}", ADDRESSES[name], subject="Streak", body="Go on")
            for number in range(count)
        ]
        return list(await sender.deliver(deliveries))

    async def track(self, reply: Reply) -> list[str]:
        self.reply = reply
        sender = MixpanelSender(MixpanelSettings(token="t", api_url=self.url), self.http)
        events = [TrackedEvent("done", "u", 1_700_000_000_000, f"i-{number}", {}) for number in range(2)]
        return [outcome.verdict for outcome in await sender.track(events)]


@pytest.fixture
async def liar() -> AsyncIterator[Liar]:
    liar = Liar(OutgoingClient())
    with small_server(liar.answer) as liar.url:
        yield liar
        await liar.http.close()


@pytest.mark.parametrize("name", ALL)
async def test_success_without_what_belongs_to_it_is_no_success(liar: Liar, name: str) -> None:
    for body in (b"<html>Welcome</html>", b'{"id": "mess', b"[]", b"null", b"7", b""):
        [outcome] = await liar.deliver(name, Reply(200, body))
        assert (outcome.verdict, bool(outcome.response)) == ("unknown", True), body


@pytest.mark.parametrize("name", OWN)
async def test_an_error_that_comes_as_success_is_no_success(liar: Liar, name: str) -> None:
    body = b'{"error": "over quota", "errors": {"x": 1}, "id": null, "data": 7}'
    [outcome] = await liar.deliver(name, Reply(200, body))
    assert outcome.verdict == ("refused" if name == "onesignal" else "unknown")  # which says so in this way


@pytest.mark.parametrize("name", ["resend", "expo"])
async def test_fewer_results_than_messages_and_results_without_an_id_are_no_success(
    liar: Liar, name: str
) -> None:
    for data in (
        b'{"id": "a", "status": "ok"}',
        b'{"id": "a", "status": "ok"}, {"id": 7, "status": "ok"}, {}',
    ):
        outcomes = await liar.deliver(name, Reply(200, b'{"data": [%s]}' % data), count=3)
        assert {outcome.message_id for outcome in outcomes if outcome.verdict == "accepted"} <= {"a"}
        assert outcomes[1].verdict == "unknown"


@pytest.mark.parametrize("name", ["resend", "expo"])
async def test_one_id_for_several_messages_confuses_nobody(liar: Liar, name: str) -> None:
    data = b", ".join([b'{"id": "a", "status": "ok"}'] * 3)
    outcomes = await liar.deliver(name, Reply(200, b'{"data": [%s]}' % data), count=3)
    assert [(outcome.verdict, outcome.message_id) for outcome in outcomes] == [("accepted", "a")] * 3


@pytest.mark.parametrize("name", ALL)
async def test_what_is_no_messages_fault_costs_no_message(liar: Liar, name: str) -> None:
    for status in (301, 302, 307, 401, 403, 404, 405, 408, 429, 500, 502, 503):
        [outcome] = await liar.deliver(name, Reply(status, b"<html>", {"location": "/again"}))
        assert (outcome.verdict, liar.asked) == ("retry", 1), status
        assert str(status) in f"{outcome.error_code} {outcome.response}"


PATIENCE = {
    "a year": "31536000",
    "for ever": "9" * 40,
    "negative": "-5",
    "a number": "1e9",
    "none": "nan",
    "a date": format_datetime(datetime.now(UTC) + timedelta(days=365), usegmt=True),
    "the last day": "Fri, 31 Dec 9999 23:59:59 GMT",
    "the first day": "Mon, 01 Jan 0001 00:00:00 +2359",
}


@pytest.mark.parametrize("name", OWN)
async def test_no_patience_is_longer_than_an_hour(liar: Liar, name: str) -> None:
    for asked, patience in PATIENCE.items():
        [outcome] = await liar.deliver(name, Reply(503, b"", {"retry-after": patience}))
        assert outcome.verdict == "retry"
        assert 0 <= (outcome.retry_after_s or 0) <= 3600, asked


@pytest.mark.parametrize("name", ["resend", "twilio", "vonage"])
async def test_an_answer_of_100_mb_is_not_read(liar: Liar, name: str) -> None:
    large = bytes(100 * 1024 * 1024)
    for reply in (Reply(200, large), Reply(200, PACKED, {"content-encoding": "gzip"})):
        [outcome] = await liar.deliver(name, reply)
        assert outcome.error_code == "too_large"
        assert outcome.verdict == ("retry" if name == "resend" else "unknown")  # it knows a single mail's key


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[Received]]]:
    """An address that answers everything, and what it has heard."""
    heard: list[Received] = []

    def answer(request: Received) -> Reply:
        heard.append(request)
        return Reply(200, b'{"id": "a", "sid": "a", "access_token": "a", "expires_in": 60}')

    with small_server(answer) as url:
        yield url, heard


@pytest.mark.parametrize("name", ALL)
@pytest.mark.req("M8")
async def test_a_redirect_is_not_followed_with_credentials(
    liar: Liar, name: str, elsewhere: tuple[str, list[Received]]
) -> None:
    url, heard = elsewhere
    for status in (301, 302, 307, 308):
        [outcome] = await liar.deliver(name, Reply(status, b"", {"location": f"{url}/v1"}))
        assert outcome.verdict == "retry"
    assert heard == []


@pytest.mark.req("M8")
async def test_events_and_assertions_are_not_redirected(
    liar: Liar, elsewhere: tuple[str, list[Received]]
) -> None:
    url, heard = elsewhere
    moved = Reply(307, b"", {"location": f"{url}/token"})
    assert await liar.track(moved) == ["retry", "retry"]
    fake = FakeFcm(url=liar.url)
    sender = FcmSender(FcmSettings(service_account=fake.service_account(), api_url=url), liar.http)
    [outcome] = await sender.deliver([Delivery("d-1", "device")])
    assert (outcome.verdict, outcome.error_code) == ("retry", "no_access_token")
    assert heard == []
    await sender.close()


@pytest.mark.parametrize("name", ALL)
async def test_an_answer_that_drips_costs_no_more_than_the_limit(
    liar: Liar, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form_api, "TIMEOUT_S", 0.3)
    async with asyncio.timeout(10):
        [outcome] = await liar.deliver(name, Reply(200, b'{"id": "a"}', drip_s=0.1), timeout_s=0.3)
    assert outcome.error_code == "timeout"
    assert outcome.verdict == ("retry" if name == "resend" else "unknown")


async def test_a_fault_of_all_mails_of_a_batch_is_asked_about_once(liar: Liar) -> None:
    """A wrong `from` is every mail's, and looking for the one that spoils the batch would cost 199 requests."""
    wrong = Reply(422, b'{"name": "invalid_from_address", "message": "Invalid `from` field."}')
    outcomes = await liar.deliver("resend", wrong, count=100)
    assert ({outcome.verdict for outcome in outcomes}, liar.asked) == ({"refused"}, 1)


async def test_a_blame_that_names_nobody_ends(liar: Liar) -> None:
    for place in ("7", "9" * 5000, "x"):
        body = b'{"errors": [{"field": "personalizations.%s.to.0.email", "message": "No"}]}' % place.encode()
        outcomes = await liar.deliver("sendgrid", Reply(400, body))
        assert ([outcome.verdict for outcome in outcomes], liar.asked) == (["refused"], 1)


async def test_events_are_counted_only_where_mixpanel_says_so(liar: Liar) -> None:
    for body in (b'{"code": 200, "status": "Bad"}', b"[]", b"<html>", b'{"error": "x"}'):
        assert await liar.track(Reply(200, body)) == ["unknown"] * 2


async def test_a_refusal_of_events_that_were_not_sent_is_not_believed(liar: Liar) -> None:
    for place in (b"2", b"-1", b'"0"', b"null"):
        record = b'{"index": %s, "field": "f", "message": "m"}' % place
        assert await liar.track(Reply(400, b'{"failed_records": [%s]}' % record)) == ["unknown"] * 2
    assert await liar.track(Reply(400, b'{"failed_records": [{"index": 1}]}')) == ["accepted", "refused"]
