"""Requests to one provider over HTTP/1.1: a bounded number at a time, at its pace, and every failure told as an
`Outcome`.

What all senders do alike stands here; what a provider's answer means stands with its sender.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

from basalt import observe
from basalt.http import OutgoingAnswer, OutgoingClient, OutgoingError, parse_retry_after
from basalt.senders.delivery import Outcome
from basalt.senders.pacing import Go, Later, Pace, Reading, read_status

TIMEOUT_S: Final = 15.0
CONCURRENCY: Final = 8
ANSWER_BYTES: Final = 1024 * 1024


class ProviderClient:
    """`name` is the provider's. The pool of connections belongs to whoever gives it."""

    def __init__(
        self,
        name: str,
        http: OutgoingClient,
        pace: Pace,
        *,
        concurrency: int = CONCURRENCY,
        timeout_s: float = TIMEOUT_S,
        answer_bytes: int = ANSWER_BYTES,
    ) -> None:
        self.name = name
        self._http = http
        self._timeout_s = timeout_s
        self._answer_bytes = answer_bytes
        self._slots = asyncio.Semaphore(concurrency)
        self._turns = Turns(name, pace)

    async def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        form: Mapping[str, str] | None = None,
        content: bytes | None = None,
        read: Callable[[int], Reading] = read_status,
    ) -> OutgoingAnswer | Outcome:
        """The provider's answer, whatever its status; or what became of the messages in the request because there is
        none: `retry` if they have not left, `unknown` if they may have."""
        async with self._slots:
            began_at = await self._turns.wait()
            if isinstance(began_at, Outcome):
                return began_at
            try:
                answer = await self._http.send(
                    method,
                    url,
                    timeout_s=self._timeout_s,
                    headers=headers,
                    json=json,
                    form=form,
                    content=content,
                    max_bytes=self._answer_bytes,
                )
            except OutgoingError as exc:
                if exc.reason in ("forbidden_address", "invalid_url"):
                    return Outcome("refused", error_code=exc.reason)
                self._turns.note("failed", began_at)
                return Outcome("unknown" if exc.was_sent else "retry", error_code=exc.reason)
            retry_after_s = parse_retry_after(answer.headers.get("retry-after"))
            self._turns.note(read(answer.status), began_at, retry_after_s)
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
