"""Mails by SendGrid (`POST /v3/mail/send`, twilio.com/docs/sendgrid/api-reference/mail-send).

Mails that differ in their recipient alone go in one request, each with a personalization of its own. One request has
one `X-Message-Id`, so that the delivery's key goes along in `custom_args`: the event webhook returns it, and it is the
message id here. SendGrid knows no idempotency keys: without an answer a mail stays `unknown`. In the sandbox mails are
checked and go nowhere (`sandbox_mode`).
"""

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from email.utils import parseaddr
from typing import Any, Final

from msgspec.structs import replace

from basalt.config import SendGridSettings
from basalt.http import OutgoingAnswer, OutgoingClient
from basalt.senders.delivery import Delivery, Outcome, Verdict
from basalt.senders.mail_headers import list_headers
from basalt.senders.pacing import LONGEST_PAUSE_S, Pace
from basalt.senders.provider_answer import first_object, note_failure, read_failure, read_object
from basalt.senders.provider_client import TIMEOUT_S, ProviderClient

API: Final = "https://api.sendgrid.com"
KEY_ARGUMENT: Final = "basalt_delivery"
MAX_PERSONALIZATIONS: Final = 1000
CONCURRENCY: Final = 32  # mails that differ are a request each
BLAMED: Final = re.compile(r"personalizations\.([0-9]{1,4})\.")
ADDRESS_FIELD: Final = re.compile(r"personalizations\.\d+\.to\b")


class SendGridSender:
    """A `DeliverySender`."""

    name = "sendgrid"
    batch_size = MAX_PERSONALIZATIONS

    def __init__(
        self,
        settings: SendGridSettings,
        http: OutgoingClient,
        *,
        is_sandbox: bool = False,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._url = f"{settings.api_url.rstrip('/') or API}/v3/mail/send"
        self._sender = _render_address(settings.sender)
        self._headers = {"authorization": f"Bearer {settings.api_key}", "accept": "application/json"}
        self._is_sandbox = is_sandbox
        self._success = 200 if is_sandbox else 202
        self._http = http
        pace = Pace(rate_per_s=settings.rate_per_s)
        self._client = ProviderClient(self.name, http, pace, concurrency=CONCURRENCY, timeout_s=timeout_s)

    async def deliver(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        outcomes: dict[int, Outcome] = {}
        await asyncio.gather(*(self._deliver_group(group, outcomes) for group in plan_requests(deliveries)))
        return [outcomes[index] for index in range(len(deliveries))]

    async def close(self) -> None:
        await self._http.close()

    async def _deliver_group(self, group: "Group", outcomes: dict[int, Outcome]) -> None:
        """Whom the answer blames is left out, and the others are sent again: a refused request has sent nothing."""
        while group:
            answer = await self._client.ask(self._url, headers=self._headers, json=self._render(group))
            if isinstance(answer, Outcome):
                outcomes.update((index, answer) for index, _ in group)
                return
            if answer.status == self._success:
                outcomes.update((index, _accept(delivery, answer)) for index, delivery in group)
                return
            blamed = read_blame(answer, len(group))
            if not blamed:
                refusal = read_refusal(answer)
                outcomes.update((index, refusal) for index, _ in group)
                return
            outcomes.update((group[place][0], outcome) for place, outcome in blamed.items())
            group = tuple(member for place, member in enumerate(group) if place not in blamed)

    def _render(self, group: "Group") -> dict[str, Any]:
        first = group[0][1]
        parts = [("text/plain", first.body), ("text/html", first.html)]  # in this order, says the reference
        mail: dict[str, Any] = {
            "personalizations": [_personalize(delivery) for _, delivery in group],
            "from": self._sender,
            "subject": first.subject,
            "content": [{"type": kind, "value": value} for kind, value in parts if value],
        }
        if self._is_sandbox:
            mail["mail_settings"] = {"sandbox_mode": {"enable": True}}
        return mail


Group = tuple[tuple[int, Delivery], ...]


def plan_requests(deliveries: Sequence[Delivery]) -> Iterator[Group]:
    """Deliveries with their places: of equal content, no address twice, no more than SendGrid takes at once.

    >>> a, b = Delivery("1", "a@example.com", body="x"), Delivery("2", "b@example.com", body="x")
    >>> [[place for place, _ in group] for group in plan_requests([a, b, a, Delivery("3", "c@d.e", body="y")])]
    [[0, 1], [2], [3]]
    """
    groups: dict[tuple[str, str, str, int], list[tuple[int, Delivery]]] = {}
    seen: dict[tuple[str, str, str, str], int] = {}
    for index, delivery in enumerate(deliveries):
        content = (delivery.subject, delivery.body, delivery.html)
        turn = seen.get((*content, delivery.address.casefold()), 0)
        seen[*content, delivery.address.casefold()] = turn + 1
        groups.setdefault((*content, turn), []).append((index, delivery))
    for group in groups.values():
        for start in range(0, len(group), MAX_PERSONALIZATIONS):
            yield tuple(group[start : start + MAX_PERSONALIZATIONS])


def read_blame(answer: OutgoingAnswer, count: int) -> dict[int, Outcome]:
    """Places of personalizations that a 400 finds fault with."""
    errors = read_object(answer).get("errors")
    if answer.status != 400 or not isinstance(errors, list):
        return {}
    blamed: dict[int, Outcome] = {}
    for error in errors:
        field = str(error.get("field") or "") if isinstance(error, dict) else ""
        found = BLAMED.match(field + ".")
        if found is not None and int(found[1]) < count:
            verdict: Verdict = "dead_address" if ADDRESS_FIELD.match(field) else "refused"
            response = note_failure(400, error.get("message"))
            blamed[int(found[1])] = Outcome(verdict, error_code="http_400", response=response)
    return blamed


def read_refusal(answer: OutgoingAnswer) -> Outcome:
    outcome = read_failure(answer, first_object(read_object(answer).get("errors")).get("message"))
    if outcome.verdict == "retry" and outcome.retry_after_s is None:
        pause_s = read_reset(answer.headers.get("x-ratelimit-reset"), time.time())
        return replace(outcome, retry_after_s=pause_s)
    return outcome


def read_reset(value: str | None, now: float) -> float | None:
    """Seconds until the limit is reset, which the header tells as an instant.

    >>> read_reset("1700000030", 1700000000.0), read_reset("soon", 0.0), read_reset("9" * 20, 0.0)
    (30.0, None, 3600.0)
    """
    if value is None or not (value.isascii() and value.isdigit()):
        return None
    return min(max(0.0, float(value[:20]) - now), LONGEST_PAUSE_S)


def _accept(delivery: Delivery, answer: OutgoingAnswer) -> Outcome:
    return Outcome(
        "accepted", message_id=delivery.key, response={"x_message_id": answer.headers.get("x-message-id", "")}
    )


def _personalize(delivery: Delivery) -> dict[str, Any]:
    own = {"to": [{"email": delivery.address}], "custom_args": {KEY_ARGUMENT: delivery.key}}
    headers = list_headers(delivery)
    return {**own, "headers": headers} if headers else own


def _render_address(text: str) -> dict[str, str]:
    name, address = parseaddr(text)
    return {"email": address, "name": name} if name else {"email": address}
