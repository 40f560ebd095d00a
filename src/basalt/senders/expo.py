"""Expo's push service (https://docs.expo.dev/push-notifications/sending-notifications/): a hundred messages a request,
each answered by a ticket; what Apple or Google said of it is in a receipt, which is there some minutes later.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from basalt.config import ExpoSettings
from basalt.http import OutgoingAnswer, OutgoingClient
from basalt.senders.delivery import Delivery, Outcome, StatusReport
from basalt.senders.pacing import Pace
from basalt.senders.provider_answer import FAULTY, first_object, read_failure, read_object
from basalt.senders.provider_client import ProviderClient
from basalt.senders.push_message import ttl_seconds

API: Final = "https://exp.host"
MESSAGES: Final = 100
RECEIPTS: Final = 1000
CONCURRENCY: Final = 6  # Expo's own SDK opens no more connections
TOKEN: Final = re.compile(
    r"Expo(?:nent)?PushToken\[[^\]\s]{1,200}\]|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE
)
OF_PROJECT: Final = frozenset({"InvalidCredentials", "MismatchSenderId"})

Item = TypeVar("Item")


class ExpoSender:
    name: Final = "expo"
    batch_size: Final = MESSAGES

    def __init__(self, settings: ExpoSettings, http: OutgoingClient) -> None:
        self._url = f"{settings.api_url or API}/--/api/v2/push"
        self._headers = {"authorization": f"Bearer {settings.access_token}"} if settings.access_token else {}
        self._http = http
        self._client = ProviderClient(
            self.name, http, Pace(rate_per_s=settings.rate_per_s), concurrency=CONCURRENCY
        )

    async def deliver(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        outcomes = {
            place: Outcome("dead_address", error_code="invalid_token")
            for place, delivery in enumerate(deliveries)
            if not TOKEN.fullmatch(delivery.address)
        }
        places = [place for place in range(len(deliveries)) if place not in outcomes]
        for part in _parts(places, MESSAGES):
            await self._send(deliveries, part, outcomes)
        return [outcomes[place] for place in range(len(deliveries))]

    async def fetch_receipts(self, message_ids: Sequence[str], *, now: datetime) -> Sequence[StatusReport]:
        """What became of accepted messages, by the ids of their tickets. Expo has receipts after some minutes and for a
        day; an id without a report has none yet, or Expo could not be asked."""
        reports: list[StatusReport] = []
        for part in _parts(message_ids, RECEIPTS):
            answer = await self._client.ask(
                f"{self._url}/getReceipts", headers=self._headers, json={"ids": list(part)}
            )
            if isinstance(answer, OutgoingAnswer) and answer.status == 200:
                receipts = read_object(answer).get("data")
                wanted = set(part)
                reports += [
                    read_receipt(message_id, receipt, now)
                    for message_id, receipt in (receipts if isinstance(receipts, dict) else {}).items()
                    if message_id in wanted and isinstance(receipt, dict)
                ]
        return reports

    async def close(self) -> None:
        await self._http.close()

    async def _send(
        self, deliveries: Sequence[Delivery], places: Sequence[int], outcomes: dict[int, Outcome]
    ) -> None:
        """One request; where Expo refuses the whole of it for some of its messages, it is cut into parts."""
        messages = [render_message(deliveries[place]) for place in places]
        answer = await self._client.ask(f"{self._url}/send", headers=self._headers, json=messages)
        if isinstance(answer, Outcome):
            outcomes.update(dict.fromkeys(places, answer))
            return
        if answer.status in FAULTY and len(places) > 1:
            for part in _divide(deliveries, places, answer):
                await self._send(deliveries, part, outcomes)
            return
        found = read_object(answer).get("data")
        if answer.status != 200 or not isinstance(found, list) or len(found) != len(places):
            outcomes.update(dict.fromkeys(places, read_refusal(answer)))
            return
        outcomes.update({place: read_ticket(ticket) for place, ticket in zip(places, found, strict=True)})


def render_message(delivery: Delivery) -> dict[str, Any]:
    """A message as Expo documents it."""
    message: dict[str, Any] = {
        "to": delivery.address,
        "title": delivery.subject,
        "body": delivery.body,
        "sound": "default",
        "priority": "high" if delivery.is_urgent else "normal",
    }
    if delivery.data:
        message["data"] = dict(delivery.data)
    if delivery.ttl_s is not None:
        message["ttl"] = ttl_seconds(delivery.ttl_s)
    if delivery.badge is not None:
        message["badge"] = delivery.badge
    return message


def read_ticket(ticket: object) -> Outcome:
    """What Expo says when it is given a message."""
    if not isinstance(ticket, dict):
        return Outcome("unknown", error_code="unexpected_answer")
    if ticket.get("status") == "ok":
        message_id = ticket.get("id")
        if not isinstance(message_id, str) or not message_id:
            return Outcome("unknown", error_code="unexpected_answer", response={"message": "no id"})
        return Outcome("accepted", message_id=message_id)
    code, message = _read_error(ticket)
    response = {"message": message}
    if code == "DeviceNotRegistered":
        return Outcome("dead_address", error_code=code, response=response)
    if code == "MessageRateExceeded" or code in OF_PROJECT:
        return Outcome("retry", error_code=code, response=response)
    return Outcome("refused", error_code=code, response=response)


def read_receipt(message_id: str, receipt: Mapping[str, Any], now: datetime) -> StatusReport:
    """What Apple or Google said. That they have it is the most that is ever known."""
    if receipt.get("status") == "ok":
        return StatusReport(f"expo:{message_id}", message_id, "delivered", now)
    code, message = _read_error(receipt)
    is_permanent = code == "DeviceNotRegistered"
    return StatusReport(
        f"expo:{message_id}",
        message_id,
        "bounced" if is_permanent else "failed",
        now,
        error_code=code,
        is_permanent=is_permanent,
        response={"message": message},
    )


def read_refusal(answer: OutgoingAnswer) -> Outcome:
    """What became of messages of which Expo took none."""
    first = first_object(read_object(answer).get("errors"))
    return read_failure(answer, first.get("message"), code=str(first.get("code") or ""))


def _read_error(ticket: Mapping[str, Any]) -> tuple[str, str]:
    details = ticket.get("details")
    code = details.get("error") if isinstance(details, dict) else None
    return str(code or "error"), str(ticket.get("message", ""))[:500]


def _divide(
    deliveries: Sequence[Delivery], places: Sequence[int], answer: OutgoingAnswer
) -> Iterator[Sequence[int]]:
    """By projects, where Expo says that tokens of several are mixed; else in two."""
    errors = read_object(answer).get("errors")
    groups: dict[str, list[int]] = {}
    for error in errors if isinstance(errors, list) else []:
        details = error.get("details") if isinstance(error, dict) else None
        if isinstance(details, dict) and error.get("code") == "PUSH_TOO_MANY_EXPERIENCE_IDS":
            project_of = {
                token: project
                for project, tokens in details.items()
                if isinstance(tokens, list)
                for token in tokens
                if isinstance(token, str)
            }
            for place in places:
                groups.setdefault(project_of.get(deliveries[place].address, ""), []).append(place)
            break
    if len(groups) > 1:
        yield from groups.values()
    else:
        half = len(places) // 2
        yield from (places[:half], places[half:])


def _parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
