"""The body of an answer that is still being made."""

import asyncio
from collections.abc import Callable

from basalt.functions.deno.exchange import Exchange
from basalt.functions.errors import FunctionError


class StreamedBody:
    """An iterator of bytes, which may take until `deadline`, by the loop's clock. `on_end` is called once, whether it
    was read to its end, broke off or was closed before."""

    def __init__(
        self, function: str, connection: Exchange, deadline: float, on_end: Callable[[], None]
    ) -> None:
        self._function = function
        self._connection = connection
        self._deadline = deadline
        self._on_end: Callable[[], None] | None = on_end

    def __aiter__(self) -> "StreamedBody":
        return self

    async def __anext__(self) -> bytes:
        if self._on_end is None:
            raise StopAsyncIteration
        try:
            async with asyncio.timeout_at(self._deadline):
                chunk = await self._connection.read()
        except TimeoutError:
            self._end()
            text = f"{self._function} did not end its answer in time"
            raise FunctionError("FUNCTION_TIMEOUT", text, status=504) from None
        except ConnectionError as exc:
            self._end()
            text = f"{self._function} broke off its answer"
            raise FunctionError("FUNCTION_CRASHED", text, status=502) from exc
        except asyncio.CancelledError:
            self._end()
            raise
        if not chunk:
            self._end()
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        self._end()

    def _end(self) -> None:
        if self._on_end is not None:
            on_end, self._on_end = self._on_end, None
            on_end()
