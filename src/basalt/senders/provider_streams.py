"""Requests to one provider over HTTP/2, many at once, at its pace: what `provider_client.py` is for HTTP/1.1."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from basalt import observe
from basalt.senders.delivery import Delivery, Outcome
from basalt.senders.http2_client import Http2Client, InDoubtError
from basalt.senders.http2_headers import HeaderList
from basalt.senders.http2_protocol import Answered, Http2Request
from basalt.senders.pacing import Pace, Reading
from basalt.senders.provider_answer import (
    GATEWAY_TIMEOUTS,
    is_for_now,
    note_failure,
    read_pace,
    read_patience,
)
from basalt.senders.provider_client import Turns
from basalt.senders.push_message import is_header_value

ONE_LOSS_S: Final = 0.1  # a hundred requests on one connection are lost at once: that is one failure


@dataclass(slots=True)
class _Batch:
    results: list[Answered | Outcome]
    open: int
    ended: asyncio.Event


class ProviderStreams:
    """`in_flight` is how many requests are made at once; the others wait here, where they hear of it when the provider
    asks for patience. `read` tells from an answer how the provider is, and how long it asks for that."""

    def __init__(
        self,
        name: str,
        client: Http2Client,
        pace: Pace,
        read: Callable[[Answered], tuple[Reading, float | None]],
        *,
        in_flight: int,
    ) -> None:
        self._client = client
        self._attributes = {"http.request.method": "POST", "server.address": client.host}
        self._slots = asyncio.Semaphore(in_flight)
        self._turns = Turns(name, pace)
        self._read = read
        self._lost_at = float("-inf")

    async def exchange(self, requests: Sequence[Http2Request]) -> Sequence[Answered | Outcome]:
        """The answers, in the order of the requests; or what became of the message because there is none. They are one
        span together, which each request is told of: one apiece would cost more than the messages."""
        with observe.span("POST", kind="client", attributes=self._attributes) as span:
            span.note(messaging__batch__message_count=len(requests))
            if traceparent := observe.traceparent().encode():
                for request in requests:
                    request.varying += ((b"traceparent", traceparent),)
            results = await self._exchange(requests)
            if unanswered := sum(isinstance(result, Outcome) for result in results):
                span.fail(f"{unanswered} without an answer")
        return results

    async def close(self) -> None:
        await self._client.close()

    async def _exchange(self, requests: Sequence[Http2Request]) -> Sequence[Answered | Outcome]:
        batch = _Batch([Outcome("unknown")] * len(requests), len(requests), asyncio.Event())
        for place, request in enumerate(requests):
            await self._slots.acquire()
            try:
                began_at = await self._turns.wait()
            except BaseException:
                self._slots.release()
                raise
            if isinstance(began_at, Outcome):
                self._settle(batch, place, began_at)
            else:
                self._begin(batch, place, request, began_at)
        if batch.open:
            await batch.ended.wait()
        return batch.results

    def _begin(self, batch: _Batch, place: int, request: Http2Request, began_at: float) -> None:
        self._client.submit(request, lambda end: self._settle(batch, place, self._judge(end, began_at)))

    def _judge(self, end: Answered | Exception, began_at: float) -> Answered | Outcome:
        if isinstance(end, Answered):
            reading, retry_after_s = self._read(end)
            self._turns.note(reading, began_at, retry_after_s)
            return end
        self._note_failure(end, began_at)
        if isinstance(end, InDoubtError):
            return Outcome("unknown", error_code="timeout" if end.reason == "timeout" else "connection_lost")
        return Outcome("retry", error_code="unreachable", response={"reason": str(end)})

    def _note_failure(self, error: Exception, began_at: float) -> None:
        now = time.monotonic()
        if isinstance(error, InDoubtError) and error.reason == "lost":
            if now - self._lost_at < ONE_LOSS_S:
                return
            self._lost_at = now
        self._turns.note("failed", began_at)

    def _settle(self, batch: _Batch, place: int, result: Answered | Outcome) -> None:
        self._slots.release()
        batch.results[place] = result
        batch.open -= 1
        if not batch.open:
            batch.ended.set()


def read_strange_pace(answer: Answered) -> tuple[Reading, float | None]:
    """What `read_strange_answer` is about says of the provider as a whole."""
    reading = read_pace(answer.status)
    return reading, None if reading == "served" else retry_after_of(answer)


def read_strange_answer(answer: Answered) -> Outcome:
    """What an answer means that is not in the provider's words: a proxy's, or that of a wrong address. No message is at
    fault for it, and a success is none."""
    code, response = f"http_{answer.status}", note_failure(answer.status, "")
    if answer.status < 300:
        return Outcome("unknown", error_code="unexpected_answer", response=response)
    if answer.status in GATEWAY_TIMEOUTS:
        return Outcome("unknown", error_code=code, response=response)
    if is_for_now(answer.status):
        return Outcome("retry", error_code=code, response=response, retry_after_s=retry_after_of(answer))
    return Outcome("refused", error_code=code, response=response)


def pseudo_headers(api_url: str) -> HeaderList:
    """Of a POST there, but for its `:path`."""
    parts = urlsplit(api_url)
    return (
        (b":method", b"POST"),
        (b":scheme", parts.scheme.encode()),
        (b":authority", parts.netloc.rpartition("@")[2].encode()),
    )


def request_id_header(delivery: Delivery) -> HeaderList:
    """The id of the request that caused the message: a batch holds messages of many."""
    request_id = delivery.request_id
    return ((b"x-request-id", request_id.encode()),) if request_id and is_header_value(request_id) else ()


def retry_after_of(answer: Answered) -> float | None:
    """Seconds of patience that the answer asks for."""
    value = answer.headers.get(b"retry-after")
    return None if value is None else read_patience(value.decode("latin-1"))
