"""Vonage's SMS API, once Nexmo (GoTrue sms_provider/vonage.go)."""

from typing import Final

from basalt.config import VonageSettings
from basalt.http import OutgoingClient
from basalt.senders.form_api import check_channel, post_form, read_fate
from basalt.senders.message import SendError, TextMessage
from basalt.senders.provider_answer import first_object

API: Final = "https://rest.nexmo.com"
FOR_NOW: Final = frozenset({"1", "4", "5", "9"})  # throttled, credentials, an error of theirs, no credit left


class VonageSender:
    def __init__(self, settings: VonageSettings, http: OutgoingClient) -> None:
        self._url = f"{settings.api_url or API}/sms/json"
        self._settings = settings
        self._http = http

    async def send(self, message: TextMessage) -> None:
        check_channel(message, "Vonage")
        form = {
            "from": self._settings.sender,
            "to": message.to,
            "text": message.body,
            "api_key": self._settings.api_key,
            "api_secret": self._settings.api_secret or "",
        }
        if not message.body.isascii():
            form["type"] = "unicode"
        status, body = await post_form(self._http, self._url, form)
        outcome = first_object(body.get("messages"))  # errors come with status 200, too
        code = outcome.get("status")
        if code != "0":
            reason = f"Vonage refused: {outcome.get('error-text')} ({code})"
            raise SendError(reason, fate="retry" if code in FOR_NOW else read_fate(status))
