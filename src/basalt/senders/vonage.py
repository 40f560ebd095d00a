"""Vonage's SMS API, once Nexmo (GoTrue sms_provider/vonage.go)."""

from typing import Final

from basalt.config import VonageSettings
from basalt.http import OutgoingClient
from basalt.senders.form_api import check_channel, first_entry, post_form
from basalt.senders.message import SendError, TextMessage

API: Final = "https://rest.nexmo.com"


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
        _, body = await post_form(self._http, self._url, form)
        outcome = first_entry(body, "messages")  # errors come with status 200, too
        if outcome.get("status") != "0":
            raise SendError(f"Vonage refused: {outcome.get('error-text')} ({outcome.get('status')})")
