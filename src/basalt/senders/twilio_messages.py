"""Text messages of the notification engine by Twilio (`POST …/Messages.json`, twilio.com/docs/messaging/api).

Twilio knows no idempotency keys: without an answer a message stays `unknown`. It tells what became of a message by
callbacks to `/notify/v1/webhooks/twilio`, where it can reach that.
"""

import base64
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import quote, urlsplit

from basalt.config import TwilioMessageSettings
from basalt.http import OutgoingAnswer, OutgoingClient, parse_retry_after
from basalt.senders.delivery import Delivery, Outcome, Verdict, deliver_each
from basalt.senders.pacing import Pace, Reading, read_status
from basalt.senders.provider_answer import note_failure, read_object
from basalt.senders.provider_client import TIMEOUT_S, ProviderClient

API: Final = "https://api.twilio.com"
CONCURRENCY: Final = 32  # Twilio queues them at the number's own rate
MAX_VALIDITY_S: Final = 36_000
ACCOUNT_ERRORS: Final = (401, 403)
# Invalid number, not a mobile one, unsubscribed by STOP, unknown handset, landline (twilio.com/docs/api/errors).
DEAD_NUMBER_CODES: Final = frozenset({21211, 21214, 21217, 21610, 21614, 30005, 30006})
FULL_QUEUE_CODES: Final = frozenset({21611, 30001})


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
        answer = await self._client.ask("POST", self._url, headers=self._headers, form=form, read=_read_pace)
        return answer if isinstance(answer, Outcome) else read_answer(answer)


def read_answer(answer: OutgoingAnswer) -> Outcome:
    """A message is `queued`, `accepted` or `sending`; it may have `failed` at once."""
    body = read_object(answer)
    if answer.status in (200, 201):
        message_id, status = body.get("sid"), body.get("status")
        if status in ("failed", "undelivered"):
            return _refuse(body.get("error_code"), note_failure(answer.status, body.get("error_message")))
        if isinstance(message_id, str) and message_id:
            return Outcome("accepted", message_id=message_id, response={"status": str(status)})
        return Outcome("unknown", error_code="unexpected_answer", response=note_failure(answer.status, ""))
    response = note_failure(answer.status, body.get("message"))
    code = str(body.get("code") or f"http_{answer.status}")
    if answer.status == 504:  # somebody between us and them did not wait
        return Outcome("unknown", error_code=code, response=response)
    if is_dead_number(code):
        return Outcome("dead_address", error_code=code, response=response)
    if answer.status in ACCOUNT_ERRORS or answer.status in (408, 429) or answer.status >= 500:
        pause_s = parse_retry_after(answer.headers.get("retry-after"))
        return Outcome("retry", error_code=code, response=response, retry_after_s=pause_s)
    return _refuse(body.get("code") or code, response)


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
    return code.isascii() and code.isdigit() and int(code) in DEAD_NUMBER_CODES


def _refuse(code: Any, response: Any) -> Outcome:
    verdict: Verdict = "refused"
    if code in FULL_QUEUE_CODES:
        verdict = "retry"
    elif is_dead_number(str(code)):
        verdict = "dead_address"
    return Outcome(verdict, error_code=str(code or ""), response=response)


def _read_pace(status: int) -> Reading:
    return "failed" if status == 401 else read_status(status)
