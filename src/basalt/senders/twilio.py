"""Twilio: Programmable Messaging (SMS and WhatsApp) and Verify, where the provider makes and checks the codes (GoTrue
sms_provider/twilio.go, twilio_verify.go)."""

import base64
import re
from typing import Any, Final
from urllib.parse import quote

import orjson

from basalt.config import TwilioSettings, TwilioVerifySettings
from basalt.http import OutgoingClient
from basalt.senders.form_api import post_form
from basalt.senders.message import SendError, TextMessage

API: Final = "https://api.twilio.com"
VERIFY_API: Final = "https://verify.twilio.com"
PHONE: Final = re.compile(r"\+?[1-9][0-9 ]{1,20}")
ACCEPTED: Final = frozenset({200, 201})


class TwilioSender:
    def __init__(self, settings: TwilioSettings, http: OutgoingClient) -> None:
        account = quote(settings.account_sid, safe="")
        self._url = f"{settings.api_url or API}/2010-04-01/Accounts/{account}/Messages.json"
        self._settings = settings
        self._authorization = _basic(settings.account_sid, settings.auth_token or "")
        self._http = http

    async def send(self, message: TextMessage) -> None:
        form = self._form(message)
        status, body = await post_form(self._http, self._url, form, authorization=self._authorization)
        _check(status, body)
        if body.get("status") in ("failed", "undelivered"):
            raise SendError(f"Twilio could not send: {body.get('error_message')} ({body.get('error_code')})")

    def _form(self, message: TextMessage) -> dict[str, str]:
        sender = self._settings.message_service_sid
        form = {"To": f"+{message.to}", "Channel": message.channel, "From": sender}
        if message.channel == "sms":
            return form | {"Body": message.body}
        form["To"] = f"whatsapp:+{message.to}"
        if PHONE.fullmatch(sender):
            form["From"] = f"whatsapp:{sender}"
        if not self._settings.content_sid:
            return form | {"Body": message.body}
        variables = orjson.dumps({"1": message.code}).decode()
        return form | {"ContentSid": self._settings.content_sid, "ContentVariables": variables}


class TwilioVerifySender:
    """Sends a code of the provider's own; the one in the message is never seen. A CodeChecker."""

    def __init__(self, settings: TwilioVerifySettings, http: OutgoingClient) -> None:
        service = quote(settings.message_service_sid, safe="")
        self._url = f"{settings.api_url or VERIFY_API}/v2/Services/{service}"
        self._authorization = _basic(settings.account_sid, settings.auth_token or "")
        self._http = http

    async def send(self, message: TextMessage) -> None:
        form = {"To": f"+{message.to}", "Channel": message.channel}
        url = f"{self._url}/Verifications"
        _check(*await post_form(self._http, url, form, authorization=self._authorization))

    async def check_code(self, to: str, code: str) -> bool:
        """404 is a code that was used, has expired or was never sent."""
        form = {"To": f"+{to}", "Code": code}
        url = f"{self._url}/VerificationCheck"
        status, body = await post_form(self._http, url, form, authorization=self._authorization)
        if status == 404:
            return False
        _check(status, body)
        return body.get("status") == "approved" and body.get("valid") is True


def _check(status: int, body: dict[str, Any]) -> None:
    if status not in ACCEPTED:
        raise SendError(f"Twilio answered {status}: {body.get('message')} ({body.get('code')})")


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
