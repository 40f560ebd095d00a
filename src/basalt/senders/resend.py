"""Mails by Resend (resend.com/docs/api-reference): one by `POST /emails`, more by `POST /emails/batch`.

Both know idempotency keys for 24 hours. A single mail has its delivery's key, so that it may be tried again at any
time. A batch has the key of exactly this batch; it is asked again with it at once, but later its mails may be in
another batch, so that one without an answer stays `unknown`.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from basalt.config import ResendSettings
from basalt.http import OutgoingAnswer, OutgoingClient, parse_retry_after
from basalt.senders.delivery import Delivery, Outcome
from basalt.senders.mail_headers import list_headers
from basalt.senders.pacing import Pace, Reading, read_status
from basalt.senders.provider_answer import note_failure, read_object
from basalt.senders.provider_client import TIMEOUT_S, ProviderClient

API: Final = "https://api.resend.com"
MAX_BATCH: Final = 100
QUOTA_PAUSE_S: Final = 900.0  # a day's or a month's is not mended in a minute
SPOILT: Final = (400, 413, 422)
ACCOUNT_ERRORS: Final = (401, 403)  # key or domain: no mail is at fault, and the operator can mend it
QUOTA_ERRORS: Final = frozenset({"daily_quota_exceeded", "monthly_quota_exceeded"})


class ResendSender:
    """A `DeliverySender`."""

    name = "resend"
    batch_size = MAX_BATCH

    def __init__(
        self, settings: ResendSettings, http: OutgoingClient, *, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._url = settings.api_url.rstrip("/") or API
        self._sender = settings.sender
        self._authorization = f"Bearer {settings.api_key}"
        self._http = http
        pace = Pace(rate_per_s=settings.rate_per_s)
        self._client = ProviderClient(self.name, http, pace, timeout_s=timeout_s)

    async def deliver(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        parts = await asyncio.gather(
            *(
                self._deliver_some(deliveries[start : start + MAX_BATCH])
                for start in range(0, len(deliveries), MAX_BATCH)
            )
        )
        return [outcome for part in parts for outcome in part]

    async def close(self) -> None:
        await self._http.close()

    async def _deliver_some(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        if len(deliveries) == 1:
            return [await self._deliver_one(deliveries[0])]
        bodies, key = [self._render(one) for one in deliveries], _batch_key(deliveries)
        answer = await self._ask("/emails/batch", bodies, key)
        if isinstance(answer, Outcome) and answer.verdict == "unknown":
            again = await self._ask("/emails/batch", bodies, key)
            if not isinstance(again, Outcome) and again.status in (200, *SPOILT):  # else nothing is known yet
                answer = again
        if isinstance(answer, Outcome):
            return [answer] * len(deliveries)
        if answer.status in (
            400,
            413,
            422,
        ):  # one of them spoils it for all: the smaller the batch, the fewer
            middle = len(deliveries) // 2
            halves = [self._deliver_some(deliveries[:middle]), self._deliver_some(deliveries[middle:])]
            return [outcome for half in await asyncio.gather(*halves) for outcome in half]
        if answer.status != 200:
            return [read_refusal(answer)] * len(deliveries)
        return read_batch(answer, len(deliveries))

    async def _deliver_one(self, delivery: Delivery) -> Outcome:
        answer = await self._ask("/emails", self._render(delivery), delivery.key)
        if isinstance(answer, Outcome):
            return replace(answer, verdict="retry") if answer.verdict == "unknown" else answer
        if answer.status != 200:
            return read_refusal(answer)
        message_id = read_object(answer).get("id")
        if not isinstance(message_id, str) or not message_id:
            return Outcome("unknown", error_code="unexpected_answer", response=note_failure(200, "no id"))
        return Outcome("accepted", message_id=message_id)

    async def _ask(self, path: str, body: object, key: str) -> OutgoingAnswer | Outcome:
        headers = {
            "authorization": self._authorization,
            "idempotency-key": key[:256],
            "x-batch-validation": "permissive",
            "user-agent": "basalt",
        }
        return await self._client.ask("POST", self._url + path, headers=headers, json=body, read=_read_pace)

    def _render(self, delivery: Delivery) -> dict[str, Any]:
        mail: dict[str, Any] = {
            "from": self._sender,
            "to": [delivery.address],
            "subject": delivery.subject,
            "text": delivery.body,
        }
        if delivery.html:
            mail["html"] = delivery.html
        if headers := list_headers(delivery):
            mail["headers"] = headers
        return mail


def read_batch(answer: OutgoingAnswer, count: int) -> list[Outcome]:
    """Of a batch under permissive validation: the ids of the mails that were taken, in their order, and apart from
    them `{"index", "message"}` of those that were not."""
    body = read_object(answer)
    taken, errors = body.get("data"), body.get("errors") or []
    unclear = Outcome("unknown", error_code="unexpected_answer", response=note_failure(200, "not every mail"))
    if not isinstance(taken, list) or not isinstance(errors, list) or len(taken) + len(errors) != count:
        return [unclear] * count
    outcomes: list[Outcome | None] = [None] * count
    for error in errors:
        index = error.get("index") if isinstance(error, dict) else None
        if not isinstance(index, int) or not 0 <= index < count:
            return [unclear] * count
        message = str(error.get("message"))
        outcomes[index] = _refuse("validation_error", note_failure(422, message), message)
    ids = iter(taken)
    for index, outcome in enumerate(outcomes):
        if outcome is None:
            entry = next(ids, None)
            message_id = entry.get("id") if isinstance(entry, dict) else None
            outcomes[index] = Outcome("accepted", message_id=message_id) if message_id else unclear
    return [outcome or unclear for outcome in outcomes]


def read_refusal(answer: OutgoingAnswer) -> Outcome:
    """What an error says (resend.com/docs/api-reference/errors)."""
    body = read_object(answer)
    name, message = str(body.get("name") or f"http_{answer.status}"), str(body.get("message") or "")
    response = note_failure(answer.status, message)
    if name in QUOTA_ERRORS:
        return Outcome("retry", error_code=name, response=response, retry_after_s=QUOTA_PAUSE_S)
    if name == "concurrent_idempotent_requests":
        return Outcome("retry", error_code=name, response=response, retry_after_s=1.0)
    if answer.status in ACCOUNT_ERRORS or answer.status in (408, 429) or answer.status >= 500:
        headers = answer.headers
        pause_s = parse_retry_after(headers.get("retry-after") or headers.get("ratelimit-reset"))
        return Outcome("retry", error_code=name, response=response, retry_after_s=pause_s)
    return _refuse(name, response, message)


def _refuse(name: str, response: Any, message: str) -> Outcome:
    """A validation error that names the field `to` is about the address."""
    verdict: Any = "dead_address" if name == "validation_error" and "`to`" in message else "refused"
    return Outcome(verdict, error_code=name, response=response)


def _read_pace(status: int) -> Reading:
    return "failed" if status in ACCOUNT_ERRORS else read_status(status)


def _batch_key(deliveries: Sequence[Delivery]) -> str:
    return "batch-" + hashlib.sha256("\n".join(one.key for one in deliveries).encode()).hexdigest()
