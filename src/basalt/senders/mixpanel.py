"""Events for Mixpanel by `POST /import` (docs.mixpanel.com/reference/import-events): up to 2,000 at once, checked one
by one (`strict=1`), and taken whatever their age, so that a queue which stood for a week loses none. `/track` is for
clients: it takes those of five days and says nothing about single events.

Mixpanel counts events of equal name, person, time and `$insert_id` once: trying again is safe.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from basalt.config import MixpanelSettings
from basalt.http import OutgoingAnswer, OutgoingClient
from basalt.senders.delivery import Outcome
from basalt.senders.pacing import Pace
from basalt.senders.provider_answer import note_failure, read_failure, read_object
from basalt.senders.provider_client import TIMEOUT_S, ProviderClient

API: Final = "https://api.mixpanel.com"
MAX_EVENTS: Final = 2000
MAX_BYTES: Final = 1_900_000  # of 2 MB


@dataclass(frozen=True, slots=True)
class TrackedEvent:
    """`time_ms` since the epoch; `insert_id` of at most 36 letters, digits and `-`."""

    name: str
    distinct_id: str
    time_ms: int
    insert_id: str
    properties: Mapping[str, Any]


class MixpanelSender:
    """Gives each event its `Outcome`, as a `DeliverySender` does for messages."""

    def __init__(
        self, settings: MixpanelSettings, http: OutgoingClient, *, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._url = f"{settings.api_url.rstrip('/') or API}/import?strict=1"
        credentials = base64.b64encode(f"{settings.token}:".encode()).decode()
        self._headers = {"authorization": f"Basic {credentials}", "content-type": "application/json"}
        self._http = http
        pace = Pace(rate_per_s=settings.rate_per_s)
        self._client = ProviderClient("mixpanel", http, pace, timeout_s=timeout_s)

    async def track(self, events: Sequence[TrackedEvent]) -> Sequence[Outcome]:
        """One outcome per event, in their order."""
        outcomes: list[Outcome] = []
        for part in _cut([_render(event) for event in events]):
            content = b"[" + b",".join(part) + b"]"
            answer = await self._client.ask(self._url, headers=self._headers, content=content)
            outcomes += (
                [answer] * len(part) if isinstance(answer, Outcome) else read_answer(answer, len(part))
            )
        return outcomes

    async def close(self) -> None:
        await self._http.close()


def read_answer(answer: OutgoingAnswer, count: int) -> list[Outcome]:
    """A 400 that names events has taken the others."""
    body = read_object(answer)
    if answer.status == 200 and body.get("status") == "OK":
        return [Outcome("accepted")] * count
    failed = body.get("failed_records")
    if answer.status == 400 and isinstance(failed, list) and failed:
        refused = dict(filter(None, map(_read_refusal, failed)))
        if len(refused) == len(failed) and all(0 <= place < count for place in refused):
            return [refused.get(place, Outcome("accepted")) for place in range(count)]
        unclear = note_failure(400, "events are refused that were not in the request")
        return [Outcome("unknown", error_code="unexpected_answer", response=unclear)] * count
    return [read_failure(answer, body.get("error"))] * count


def _read_refusal(record: object) -> tuple[int, Outcome] | None:
    """The place of an event, and why it is none."""
    place = record.get("index") if isinstance(record, dict) else None
    if not isinstance(record, dict) or not isinstance(place, int):
        return None
    response = note_failure(400, f"{record.get('field')}: {record.get('message')}")
    return place, Outcome("refused", error_code="invalid_event", response=response)


def _render(event: TrackedEvent) -> bytes:
    own = {"distinct_id": event.distinct_id, "time": event.time_ms, "$insert_id": event.insert_id}
    return orjson.dumps({"event": event.name, "properties": {**event.properties, **own}})


def _cut(events: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Parts of no more events and bytes than one request takes.

    >>> [len(part) for part in _cut([b"x"] * 2001 + [b"y" * 1_899_999])]
    [2000, 1, 1]
    """
    part: list[bytes] = []
    size = 0
    for event in events:
        if part and (len(part) == MAX_EVENTS or size + len(event) + 1 > MAX_BYTES):
            yield part
            part, size = [], 0
        part.append(event)
        size += len(event) + 1
    if part:
        yield part
