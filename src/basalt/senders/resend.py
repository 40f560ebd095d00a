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
from basalt.http import OutgoingAnswer, OutgoingClient
from basalt.senders.delivery import Delivery, Outcome, Verdict
from basalt.senders.mail_headers import list_headers
from basalt.senders.pacing import Pace
from basalt.senders.provider_answer import FAULTY, note_failure, read_failure, read_object
from basalt.senders.provider_client import TIMEOUT_S, ProviderClient

API: Final = "https://api.resend.com"
MAX_BATCH: Final = 100
FAULTS_OF_ALL: Final = frozenset({"invalid_from_address", "invalid_idempotency_key"})
# A `validation_error` of status 400, where the key does not look like one.
WRONG_KEY: Final = "API key is invalid"
# Of errors that pass: a day's quota, or a month's, is not mended in a minute.
PAUSES_S: Final = {
    "daily_quota_exceeded": 900.0,
    "monthly_quota_exceeded": 900.0,
    "concurrent_idempotent_requests": 1.0,
}


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
        answer = await self._client.ask_surely(
            self._url + "/emails/batch", headers=self._headers(key), json=bodies
        )
        if isinstance(answer, Outcome):
            return [answer] * len(deliveries)
        if answer.status == 200:
            return read_batch(answer, len(deliveries))
        refusal = read_refusal(answer)
        is_of_one = refusal.verdict != "retry" and refusal.error_code not in FAULTS_OF_ALL
        if answer.status in FAULTY and is_of_one:
            middle = len(deliveries) // 2  # one of them spoils it for all: the smaller the batch, the fewer
            halves = [self._deliver_some(deliveries[:middle]), self._deliver_some(deliveries[middle:])]
            return [outcome for half in await asyncio.gather(*halves) for outcome in half]
        return [refusal] * len(deliveries)

    async def _deliver_one(self, delivery: Delivery) -> Outcome:
        body = self._render(delivery)
        answer = await self._client.ask(self._url + "/emails", headers=self._headers(delivery.key), json=body)
        if isinstance(answer, Outcome):
            return replace(answer, verdict="retry") if answer.verdict == "unknown" else answer
        if answer.status != 200:
            return read_refusal(answer)
        message_id = read_object(answer).get("id")
        if not isinstance(message_id, str) or not message_id:
            return read_failure(answer, "no id")
        return Outcome("accepted", message_id=message_id)

    def _headers(self, key: str) -> dict[str, str]:
        return {
            "authorization": self._authorization,
            "idempotency-key": key[:256],
            "x-batch-validation": "permissive",
            "user-agent": "basalt",
        }

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
    unclear = read_failure(answer, "not every mail")
    if not isinstance(taken, list) or not isinstance(errors, list) or len(taken) + len(errors) != count:
        return [unclear] * count
    outcomes: list[Outcome | None] = [None] * count
    for error in errors:
        index = error.get("index") if isinstance(error, dict) else None
        if not isinstance(index, int) or not 0 <= index < count:
            return [unclear] * count
        message = str(error.get("message"))
        outcomes[index] = Outcome(
            _judge("validation_error", message),
            error_code="validation_error",
            response=note_failure(422, message),
        )
    ids = iter(taken)
    for index, outcome in enumerate(outcomes):
        if outcome is None:
            entry = next(ids, None)
            message_id = entry.get("id") if isinstance(entry, dict) else None
            is_named = isinstance(message_id, str) and message_id != ""
            outcomes[index] = Outcome("accepted", message_id=str(message_id)) if is_named else unclear
    return [outcome or unclear for outcome in outcomes]


def read_refusal(answer: OutgoingAnswer) -> Outcome:
    """What an error says (resend.com/docs/api-reference/errors)."""
    body = read_object(answer)
    name, message = str(body.get("name") or ""), body.get("message")
    outcome = read_failure(answer, message, code=name)
    if pause_s := PAUSES_S.get(name):
        return replace(outcome, verdict="retry", retry_after_s=pause_s)
    if WRONG_KEY in str(message):
        return replace(outcome, verdict="retry")
    return replace(outcome, verdict=_judge(name, message)) if outcome.verdict == "refused" else outcome


def _judge(name: str, message: object) -> Verdict:
    """A validation error that names the field `to` is about the address."""
    is_dead = name == "validation_error" and "`to`" in str(message)
    return "dead_address" if is_dead else "refused"


def _batch_key(deliveries: Sequence[Delivery]) -> str:
    return "batch-" + hashlib.sha256("\n".join(one.key for one in deliveries).encode()).hexdigest()
