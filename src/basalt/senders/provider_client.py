"""Requests to one provider over HTTP/1.1: a bounded number at a time, at its pace, and every failure told as an
`Outcome`.

What all senders do alike stands here; what a provider's answer means stands with its sender.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

from basalt import observe
from basalt.http import OutgoingAnswer, OutgoingClient, OutgoingError
from basalt.senders.delivery import Outcome, Verdict
from basalt.senders.pacing import Go, Later, Pace, Reading
from basalt.senders.provider_answer import FAULTY, is_unanswered, read_pace, read_pause

TIMEOUT_S: Final = 15.0
CONCURRENCY: Final = 8
ANSWER_BYTES: Final = 1024 * 1024


class ProviderClient:
    """`name` is the provider's. The pool of connections belongs to whoever gives it. `read` tells from a status how the
    provider is."""

    def __init__(
        self,
        name: str,
        http: OutgoingClient,
        pace: Pace,
        *,
        concurrency: int = CONCURRENCY,
        timeout_s: float = TIMEOUT_S,
        answer_bytes: int = ANSWER_BYTES,
        read: Callable[[int], Reading] = read_pace,
    ) -> None:
        self.name = name
        self._http = http
        self._timeout_s = timeout_s
        self._answer_bytes = answer_bytes
        self._read = read
        self._slots = asyncio.Semaphore(concurrency)
        self._turns = Turns(name, pace)

    async def ask(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        json: object = None,
        form: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> OutgoingAnswer | Outcome:
        """The answer to a `POST`, whatever its status; or what became of the messages in the request because there is
        none: `retry` if they have not left, `unknown` if they may have."""
        async with self._slots:
            began_at = await self._turns.wait()
            if isinstance(began_at, Outcome):
                return began_at
            try:
                answer = await self._http.send(
                    "POST",
                    url,
                    timeout_s=self._timeout_s,
                    headers=headers,
                    json=json,
                    form=form,
                    content=content,
                    max_bytes=self._answer_bytes,
                )
            except OutgoingError as exc:
                if exc.reason == "forbidden_address":
                    return Outcome("refused", error_code=exc.reason)
                self._turns.note("failed", began_at)
                verdict: Verdict = "unknown" if exc.was_sent else "retry"
                return Outcome(verdict, error_code=exc.reason, response={"message": str(exc)})
            reading = self._read(answer.status)
            self._turns.note(reading, began_at, None if reading == "served" else read_pause(answer))
            return answer

    async def ask_surely(
        self, url: str, *, headers: Mapping[str, str], json: object
    ) -> OutgoingAnswer | Outcome:
        """Like `ask`, for a request with an idempotency key: without an answer it is made again at once. What is said
        to the second counts if it is about the messages; else nothing is known yet."""
        answer = await self.ask(url, headers=headers, json=json)
        if is_unanswered(answer):
            again = await self.ask(url, headers=headers, json=json)
            if isinstance(again, OutgoingAnswer) and (again.status == 200 or again.status in FAULTY):
                return again
        return answer


class Turns:
    """A `Pace` with a clock: who waits for its turn here may ask."""

    def __init__(self, name: str, pace: Pace) -> None:
        self._name = name
        self._pace = pace

    async def wait(self) -> float | Outcome:
        """When the turn came, for `note`; or that it will not come soon."""
        match self._pace.admit(time.monotonic()):
            case Later() as later:
                return postpone(later)
            case Go(after_s) if after_s:
                await asyncio.sleep(after_s)
        began_at = time.monotonic()
        held = self._pace.begin(began_at)
        return began_at if held is None else postpone(held)

    def note(self, reading: Reading, began_at: float, retry_after_s: float | None = None) -> None:
        """How it went. Whoever looks at the log learns when a circuit opens and closes."""
        was_open = self._pace.is_open
        has_opened = self._pace.note(
            reading, time.monotonic(), began_at=began_at, retry_after_s=retry_after_s
        )
        if has_opened and not was_open:
            observe.event("provider_circuit_opened", level="warning", provider=self._name)
        elif was_open and not self._pace.is_open:
            observe.event("provider_circuit_closed", provider=self._name)


def postpone(later: Later) -> Outcome:
    """What becomes of a message that nobody has tried to send."""
    return Outcome("retry", error_code=later.reason, retry_after_s=later.after_s)
