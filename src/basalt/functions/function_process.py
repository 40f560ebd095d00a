"""What the pool asks of a function's process, whatever language it is written in."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from basalt.functions.frames import Call, Failure


@dataclass(slots=True)
class FunctionAnswer:
    """Header names are in lower case and may come several times. A body that is still being made is an iterator,
    which ends with FunctionError when the process dies or takes too long; who does not want the rest closes it
    (`aclose`)."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes | AsyncIterator[bytes]


class FunctionProcess(Protocol):
    """One process of one function, loaded and ready. It dies by itself when the gateway or worker that started it
    does."""

    @property
    def pid(self) -> int: ...

    @property
    def is_lost(self) -> bool:
        """It is gone, however it went."""

    @property
    def in_flight(self) -> int:
        """Calls whose answer or whose background work has not ended."""

    @property
    def idle_since(self) -> float:
        """The loop's time at which the last call ended."""

    @property
    def rss_mb(self) -> float:
        """Resident memory."""

    async def call(self, call: Call, *, timeout_s: float) -> FunctionAnswer | Failure:
        """Raises FunctionError FUNCTION_TIMEOUT (504) and FUNCTION_CRASHED (502). A caller that is cancelled cancels
        the handler; a handler that does not listen within a second costs the process."""

    def kill(self) -> None:
        """At once; calls in flight end as crashed."""

    async def close(self) -> None:
        """Let it end; what still runs in it is given up."""
