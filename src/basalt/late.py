"""What is imported when it is first used: flows that most projects never use and whose libraries are large, so that
they cost neither time at start nor memory. The import is `importlib.import_module`, as in the fronts of rooms; type
checkers see the ordinary one under `TYPE_CHECKING`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from importlib import import_module
from typing import Any


class LateModule:
    """A module by its name. Asking it for anything imports it.

    >>> statistics = LateModule("statistics")
    >>> statistics.mean([1, 2, 3])
    2
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)


class LateFunction:
    """The coroutine function `name` of a module, a route's handler for one. The first call imports the module in a
    thread, so that the event loop goes on."""

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name
        self._function: Callable[..., Awaitable[Any]] | None = None

    async def __call__(self, *args: Any, **named: Any) -> Any:
        if self._function is None:
            await asyncio.to_thread(self.load)
            assert self._function is not None
        return await self._function(*args, **named)

    def load(self) -> None:
        """Raises ImportError or AttributeError where there is no such function."""
        self._function = getattr(import_module(self._module), self._name)


def import_all(modules: Iterable[str]) -> None:
    """What the settings say that will be used, before the first request asks for it."""
    for module in modules:
        import_module(module)
