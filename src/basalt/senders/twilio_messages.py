"""Text messages of the notification engine by Twilio (`POST …/Messages.json`, twilio.com/docs/messaging/api).

Twilio knows no idempotency keys: without an answer a message stays `unknown`. It tells what became of a message by
callbacks to `/notify/v1/webhooks/twilio`, where it can reach that.
"""

import base64
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote, urlsplit

from msgspec.structs import replace

from basalt.config import TwilioMessageSettings
from basalt.http import OutgoingAnswer, OutgoingClient
from basalt.senders.delivery import Delivery, Outcome, Verdict, deliver_each
from basalt.senders.pacing import Pace
from basalt.senders.provider_answer import note_failure, read_failure, read_object
from basalt.senders.provider_client import TIMEOUT_S, ProviderClient

API: Final = "https://api.twilio.com"
CONCURRENCY: Final = 32  # Twilio queues them at the number's own rate
MAX_VALIDITY_S: Final = 36_000
# Invalid number, not a mobile one, unsubscribed by STOP, unknown handset, landline (twilio.com/docs/api/errors).
DEAD_NUMBER_CODES: Final = frozenset({"21211", "21214", "21217", "21610", "21614", "30005", "30006"})
FULL_QUEUE_CODES: Final = frozenset({"21611", "30001"})


class TwilioMessageSender:
    """A `DeliverySender`. `status_url`: where Twilio reports to; empty where it cannot reach us."""

    name = "twilio"
    batch_size = 100

    def __init__(
        self,
        settings: TwilioMessageSettings,
        http: OutgoingClient,
        *,
        status_url: str = "",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        account = quote(settings.account_sid, safe="")
        self._url = f"{settings.api_url.rstrip('/') or API}/2010-04-01/Accounts/{account}/Messages.json"
        token = base64.b64encode(f"{settings.account_sid}:{settings.auth_token}".encode()).decode()
        self._headers = {"authorization": f"Basic {token}", "accept": "application/json"}
        kind = "MessagingServiceSid" if settings.sender.startswith("MG") else "From"
        self._common = {kind: settings.sender} | ({"StatusCallback": status_url} if status_url else {})
        self._http = http
        pace = Pace(rate_per_s=settings.rate_per_s)
        self._client = ProviderClient(self.name, http, pace, concurrency=CONCURRENCY, timeout_s=timeout_s)

    async def deliver(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        return await deliver_each(self._deliver_one, deliveries)

    async def close(self) -> None:
        await self._http.close()

    async def _deliver_one(self, delivery: Delivery) -> Outcome:
        form = {"To": f"+{delivery.address.removeprefix('+')}", "Body": delivery.body, **self._common}
        if delivery.ttl_s is not None:
            form["ValidityPeriod"] = str(min(max(1, int(delivery.ttl_s)), MAX_VALIDITY_S))
        answer = await self._client.ask(self._url, headers=self._headers, form=form)
        return answer if isinstance(answer, Outcome) else read_answer(answer)


def read_answer(answer: OutgoingAnswer) -> Outcome:
    """A message is `queued`, `accepted` or `sending`; it may have `failed` at once."""
    body = read_object(answer)
    if answer.status in (200, 201):
        message_id, status = body.get("sid"), body.get("status")
        if status in ("failed", "undelivered"):
            code = str(body.get("error_code") or status)
            response = note_failure(answer.status, body.get("error_message"))
            return Outcome(_judge(code), error_code=code, response=response)
        if isinstance(message_id, str) and message_id:
            return Outcome("accepted", message_id=message_id, response={"status": str(status)})
        return read_failure(answer, "no sid")
    code = str(body.get("code") or "")
    outcome = read_failure(answer, body.get("message"), code=code)
    is_judged = outcome.verdict == "refused" or is_dead_number(code)
    return replace(outcome, verdict=_judge(code)) if is_judged else outcome


def find_status_url(api_url: str) -> str:
    """Twilio refuses messages whose callback leads to the machine itself.

    >>> find_status_url("https://api.example.com"), find_status_url("http://127.0.0.1:54321")
    ('https://api.example.com/notify/v1/webhooks/twilio', '')
    """
    host = urlsplit(api_url).hostname or ""
    try:
        is_reachable = ip_address(host).is_global
    except ValueError:
        is_reachable = "." in host
    return f"{api_url}/notify/v1/webhooks/twilio" if is_reachable else ""


def is_dead_number(code: str) -> bool:
    return code in DEAD_NUMBER_CODES


def _judge(code: str) -> Verdict:
    """Of a message that was not taken. A full queue has room again."""
    if is_dead_number(code):
        return "dead_address"
    return "retry" if code in FULL_QUEUE_CODES else "refused"
