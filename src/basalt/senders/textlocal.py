"""Textlocal's API (GoTrue sms_provider/textlocal.go)."""

from typing import Final

from basalt.config import TextLocalSettings
from basalt.http import OutgoingClient
from basalt.senders.form_api import check_channel, post_form, read_fate
from basalt.senders.message import SendError, TextMessage
from basalt.senders.provider_answer import first_object

API: Final = "https://api.textlocal.in"


class TextLocalSender:
    def __init__(self, settings: TextLocalSettings, http: OutgoingClient) -> None:
        self._url = f"{settings.api_url or API}/send"
        self._settings = settings
        self._http = http

    async def send(self, message: TextMessage) -> None:
        check_channel(message, "Textlocal")
        form = {
            "sender": self._settings.sender,
            "apikey": self._settings.api_key or "",
            "message": message.body,
            "numbers": message.to,
        }
        status, body = await post_form(self._http, self._url, form)
        if body.get("status") != "success":
            reason = first_object(body.get("errors"))
            raise SendError(
                f"Textlocal refused: {reason.get('message')} ({reason.get('code')})", fate=read_fate(status)
            )
