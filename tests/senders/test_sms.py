"""Text messages by each provider's own API: what is asked, and what becomes of every way to refuse."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from basalt.config import (
    ConfigError,
    MessageBirdSettings,
    SmsSettings,
    TextLocalSettings,
    TwilioSettings,
    TwilioVerifySettings,
    VonageSettings,
)
from basalt.http import OutgoingClient
from basalt.senders import (
    SendError,
    TextMessage,
    TextSender,
    TwilioVerifySender,
    build_text_sender,
    check_text_settings,
    find_text_provider,
    form_api,
    takes_whatsapp,
)
from tests.fakes.sms import ACCOUNT, SECRET, SERVICE, VERIFY_CODE, FakeSms, fake_sms

pytestmark = pytest.mark.req("P6")

TEXT = TextMessage(to="60123456789", body="Your code is 123456", kind="confirmation", code="123456")
PROVIDERS: dict[str, Any] = {
    "twilio": TwilioSettings(enabled=True, account_sid=ACCOUNT, message_service_sid="MG9", auth_token=SECRET),
    "twilio_verify": TwilioVerifySettings(
        enabled=True, account_sid=ACCOUNT, message_service_sid=SERVICE, auth_token=SECRET
    ),
    "messagebird": MessageBirdSettings(enabled=True, originator="Agentwise", access_key=SECRET),
    "textlocal": TextLocalSettings(enabled=True, sender="AGNTWS", api_key=SECRET),
    "vonage": VonageSettings(enabled=True, sender="Agentwise", api_key=ACCOUNT, api_secret=SECRET),
}
SECRET_KEYS = {
    "twilio": "auth_token",
    "twilio_verify": "auth_token",
    "messagebird": "access_key",
    "textlocal": "api_key",
    "vonage": "api_secret",
}


@pytest.fixture
async def fake() -> AsyncIterator[FakeSms]:
    async with fake_sms() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[OutgoingClient]:
    client = OutgoingClient()
    yield client
    await client.close()


def sender_of(name: str, fake: FakeSms, http: OutgoingClient, **changes: Any) -> TextSender:
    section = replace(PROVIDERS[name], api_url=fake.url, **changes)
    settings = replace(SmsSettings(), **{name: section})
    assert check_text_settings(settings, config_file=Path("config.toml")) == name
    return build_text_sender(settings, http)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("twilio", {"To": "+60123456789", "Channel": "sms", "From": "MG9", "Body": TEXT.body}),
        ("twilio_verify", {"To": "+60123456789", "Channel": "sms"}),
        (
            "messagebird",
            {
                "originator": "Agentwise",
                "body": TEXT.body,
                "recipients": "60123456789",
                "type": "sms",
                "datacoding": "unicode",
            },
        ),
        (
            "textlocal",
            {"sender": "AGNTWS", "apikey": SECRET, "message": TEXT.body, "numbers": "60123456789"},
        ),
        (
            "vonage",
            {
                "from": "Agentwise",
                "to": "60123456789",
                "text": TEXT.body,
                "api_key": ACCOUNT,
                "api_secret": SECRET,
            },
        ),
    ],
)
async def test_a_text_leaves_in_the_providers_own_form(
    name: str, form: dict[str, str], fake: FakeSms, http: OutgoingClient
) -> None:
    await sender_of(name, fake, http).send(TEXT)
    assert fake.sent == [form]


@pytest.mark.parametrize("name", ["twilio", "messagebird", "textlocal", "vonage"])
async def test_texts_hold_any_letters(name: str, fake: FakeSms, http: OutgoingClient) -> None:
    await sender_of(name, fake, http).send(replace(TEXT, body="Ihr Code für 東京: 1&2=3"))
    assert "Ihr Code für 東京: 1&2=3" in fake.sent[0].values()


@pytest.mark.parametrize("name", PROVIDERS)
async def test_wrong_credentials_are_an_error_without_the_secret(
    name: str, fake: FakeSms, http: OutgoingClient
) -> None:
    sender = sender_of(name, fake, http, **{SECRET_KEYS[name]: "a-wrong-secret"})
    with pytest.raises(SendError) as caught:
        await sender.send(TEXT)
    assert fake.sent == []
    assert "a-wrong-secret" not in str(caught.value)


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize(
    "reply",
    [(500, {"message": "Internal"}), (502, "<html>Bad gateway</html>"), (200, "[]"), (200, {}), (200, "")],
)
async def test_an_answer_that_is_no_success_is_an_error(
    name: str, reply: tuple[int, Any], fake: FakeSms, http: OutgoingClient
) -> None:
    if name.startswith("twilio") and reply == (200, {}):
        return  # Twilio says by the status alone that a message is queued
    fake.next_replies = [reply]
    with pytest.raises(SendError):
        await sender_of(name, fake, http).send(TEXT)
    assert len(fake.requests) == 1  # a second try might be a second message


@pytest.mark.parametrize(
    ("name", "status", "body", "words"),
    [
        ("twilio", 201, {"status": "failed", "error_code": 30006, "error_message": "Landline"}, "Landline"),
        ("twilio", 201, {"status": "undelivered", "error_code": 1, "error_message": "Gone"}, "Gone"),
        ("twilio", 400, {"code": 21211, "message": "Invalid 'To'", "status": 400}, "Invalid 'To'"),
        ("twilio_verify", 429, {"code": 60203, "message": "Max send attempts reached"}, "Max send"),
        ("messagebird", 422, {"errors": [{"code": 9, "description": "no recipients"}]}, "no recipients"),
        ("messagebird", 201, {"id": "x", "recipients": {"totalSentCount": 0}}, "nobody"),
        ("vonage", 200, {"messages": [{"status": "9", "error-text": "Quota Exceeded"}]}, "Quota"),
        ("vonage", 200, {"messages": []}, "refused"),
        (
            "textlocal",
            200,
            {"status": "failure", "errors": [{"code": 80, "message": "Template"}]},
            "Template",
        ),
        ("textlocal", 200, {"status": "failure", "errors": []}, "refused"),
    ],
)
async def test_every_providers_refusal_is_told_to_the_log(
    name: str, status: int, body: dict[str, Any], words: str, fake: FakeSms, http: OutgoingClient
) -> None:
    fake.next_replies = [(status, body)]
    with pytest.raises(SendError, match=words):
        await sender_of(name, fake, http).send(TEXT)


@pytest.mark.parametrize("name", PROVIDERS)
async def test_a_provider_that_does_not_answer_costs_no_more_than_the_limit(
    name: str, fake: FakeSms, http: OutgoingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form_api, "TIMEOUT_S", 0.2)
    fake.pause_s = 1.0
    with pytest.raises(SendError, match="No answer within"):
        await sender_of(name, fake, http).send(TEXT)


async def test_whatsapp_by_twilio(fake: FakeSms, http: OutgoingClient) -> None:
    message = replace(TEXT, channel="whatsapp")
    to = {"To": "whatsapp:+60123456789", "Channel": "whatsapp"}
    await sender_of("twilio", fake, http).send(message)
    assert fake.sent.pop() == to | {"From": "MG9", "Body": TEXT.body}
    await sender_of("twilio", fake, http, message_service_sid="15555550100", content_sid="HX1").send(message)
    content = {"ContentSid": "HX1", "ContentVariables": '{"1":"123456"}'}
    assert fake.sent.pop() == to | {"From": "whatsapp:15555550100"} | content
    await sender_of("twilio_verify", fake, http).send(message)
    assert fake.sent.pop() == {"To": "+60123456789", "Channel": "whatsapp"}


@pytest.mark.parametrize("name", ["messagebird", "textlocal", "vonage"])
async def test_whatsapp_by_others_is_an_error(name: str, fake: FakeSms, http: OutgoingClient) -> None:
    with pytest.raises(SendError, match="whatsapp"):
        await sender_of(name, fake, http).send(replace(TEXT, channel="whatsapp"))
    assert fake.requests == []


async def test_twilio_verify_checks_its_own_codes_once(fake: FakeSms, http: OutgoingClient) -> None:
    sender = sender_of("twilio_verify", fake, http)
    assert isinstance(sender, TwilioVerifySender)
    assert not await sender.check_code(TEXT.to, VERIFY_CODE)
    await sender.send(TEXT)
    assert not await sender.check_code(TEXT.to, TEXT.code)
    assert await sender.check_code(TEXT.to, VERIFY_CODE)
    assert not await sender.check_code(TEXT.to, VERIFY_CODE)
    fake.next_replies = [(200, {"status": "approved", "valid": False}), (503, {"message": "Down"})]
    assert not await sender.check_code(TEXT.to, VERIFY_CODE)
    with pytest.raises(SendError, match="Down"):
        await sender.check_code(TEXT.to, VERIFY_CODE)


@pytest.mark.parametrize(
    ("name", "missing", "key"),
    [
        ("twilio", "account_sid", "twilio.account_sid"),
        ("twilio", "auth_token", "twilio.auth_token"),
        ("twilio", "message_service_sid", "twilio.message_service_sid"),
        ("twilio_verify", "message_service_sid", "twilio_verify.message_service_sid"),
        ("messagebird", "access_key", "messagebird.access_key"),
        ("messagebird", "originator", "messagebird.originator"),
        ("textlocal", "api_key", "textlocal.api_key"),
        ("vonage", "api_secret", "vonage.api_secret"),
        ("vonage", "sender", "vonage.from"),
    ],
)
def test_a_provider_without_what_it_needs_stops_the_start(name: str, missing: str, key: str) -> None:
    settings = replace(SmsSettings(), **{name: replace(PROVIDERS[name], **{missing: ""})})
    with pytest.raises(ConfigError, match=f"config.toml: auth.sms.{key}: it is missing"):
        check_text_settings(settings, config_file=Path("config.toml"))


def test_two_providers_stop_the_start() -> None:
    settings = replace(SmsSettings(), twilio=PROVIDERS["twilio"], vonage=PROVIDERS["vonage"])
    with pytest.raises(ConfigError, match=r"config\.toml: auth\.sms\.vonage\.enabled: twilio is enabled too"):
        check_text_settings(settings, config_file=Path("config.toml"))


def test_without_a_provider_the_inbox_takes_everything() -> None:
    settings = SmsSettings(twilio=replace(PROVIDERS["twilio"], enabled=False))
    assert check_text_settings(settings, config_file=Path("c")) == find_text_provider(settings) == ""
    assert takes_whatsapp(settings)
    assert not takes_whatsapp(replace(settings, vonage=PROVIDERS["vonage"]))
