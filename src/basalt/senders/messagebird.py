"""MessageBird's SMS API (GoTrue sms_provider/messagebird.go)."""

from typing import Final

from basalt.config import MessageBirdSettings
from basalt.http import OutgoingClient
from basalt.senders.form_api import check_channel, post_form, read_fate
from basalt.senders.message import SendError, TextMessage
from basalt.senders.provider_answer import first_object

API: Final = "https://rest.messagebird.com"


class MessageBirdSender:
    def __init__(self, settings: MessageBirdSettings, http: OutgoingClient) -> None:
        self._url = f"{settings.api_url or API}/messages"
        self._settings = settings
        self._http = http

    async def send(self, message: TextMessage) -> None:
        check_channel(message, "MessageBird")
        form = {
            "originator": self._settings.originator,
            "body": message.body,
            "recipients": message.to,
            "type": "sms",
            "datacoding": "unicode",
        }
        authorization = f"AccessKey {self._settings.access_key}"
        status, body = await post_form(self._http, self._url, form, authorization=authorization)
        if not 200 <= status < 300:
            reason = first_object(body.get("errors")).get("description")
            raise SendError(f"MessageBird answered {status}: {reason}", fate=read_fate(status))
        recipients = body.get("recipients")
        if not isinstance(recipients, dict) or not recipients.get("totalSentCount"):
            raise SendError("MessageBird sent the message to nobody")
