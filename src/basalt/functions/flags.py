"""`context.flags`: what the caller has of the project's feature flags, from the memory of the process."""

import asyncio
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from basalt.functions.errors import FunctionError

if TYPE_CHECKING:
    from openfeature.client import OpenFeatureClient

    from basalt.flags import Decision, FlagBook, FlagCaller

DOMAIN = "basalt"


class FlagsOfProcess:
    """The flags that all calls of a process share, loaded by the first one that asks."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._book: FlagBook | None = None
        self._has_provider = False
        self._opening = asyncio.Lock()

    async def book(self) -> "FlagBook":
        """Raises BasaltError flags_unavailable (503)."""
        if self._book is None:
            async with self._opening:
                if self._book is None:
                    book: FlagBook = import_module("basalt.flags").FlagBook(self._conninfo)
                    await book.ensure_loaded()
                    self._book = book
        return self._book

    async def ensure_provider(self) -> None:
        """Raises FunctionError PACKAGE_MISSING (500)."""
        book = await self.book()
        if self._has_provider:
            return
        try:
            provider = import_module("basalt.flags").BasaltProvider(book)
        except ModuleNotFoundError as exc:
            raise FunctionError(
                "PACKAGE_MISSING",
                "The package `openfeature-sdk` is not installed",
                status=500,
                hint="Run: pip install 'basalt[openfeature]'",
            ) from exc
        import_module("openfeature.api").set_provider(provider, DOMAIN)
        self._has_provider = True

    async def close(self) -> None:
        if self._book is not None:
            await self._book.close()


class Flags:
    """The flags of one caller."""

    def __init__(self, shared: FlagsOfProcess, *, user_id: str | None, claims: Mapping[str, Any]) -> None:
        self._shared = shared
        self._user_id = user_id
        self._claims = claims

    async def enabled(self, name: str, default: bool = False) -> bool:
        """Whether the caller has a feature; `default` where there is no such flag. Raises BasaltError
        flags_unavailable (503)."""
        decision = await self._decide(name)
        return default if decision is None else decision.is_enabled

    async def value(self, name: str, default: Any = None) -> Any:
        """What a flag gives to the caller."""
        decision = await self._decide(name)
        return default if decision is None else decision.value

    async def all(self) -> dict[str, Any]:
        """What each flag gives to the caller, by name."""
        decisions = (await self._shared.book()).decide_all(self._caller())
        return {name: decision.value for name, decision in decisions.items()}

    async def open_feature(self) -> "OpenFeatureClient":
        """A client of the OpenFeature SDK for the caller. Raises FunctionError PACKAGE_MISSING (500)."""
        await self._shared.ensure_provider()
        context = import_module("openfeature.evaluation_context").EvaluationContext(
            self._user_id, dict(self._claims)
        )
        client: OpenFeatureClient = import_module("openfeature.api").get_client(domain=DOMAIN)
        client.context = context
        return client

    async def _decide(self, name: str) -> "Decision | None":
        return (await self._shared.book()).decide(name, self._caller())

    def _caller(self) -> "FlagCaller":
        caller: FlagCaller = import_module("basalt.flags").FlagCaller(
            self._user_id, self._user_id, self._claims
        )
        return caller
