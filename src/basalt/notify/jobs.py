"""The engine's jobs in the worker: expanding events, falling back, gathering digests and receipts."""

from collections.abc import Mapping
from contextlib import AsyncExitStack

from basalt.config import Settings
from basalt.jobs import Handler
from basalt.notify.expansion import Expander
from basalt.notify.fallback import FallBack
from basalt.notify.gathering import DigestGatherer
from basalt.notify.outflow import Ways
from basalt.notify.receipts import ReceiptGatherer
from basalt.notify.sending import BuildSenders
from basalt.notify.template_book import TemplateBook
from basalt.postgres import DatabaseAccess, open_pool
from basalt.senders import build_delivery_senders

POOL_SIZE = 4


class NotifyJobs:
    """Open it before its handlers are called, and close it after. `ways` are those of the `Dispatcher` beside it, and
    so is `build_senders`: here they only say who delivers to which address."""

    def __init__(
        self,
        settings: Settings,
        access: DatabaseAccess,
        ways: Ways,
        *,
        build_senders: BuildSenders = build_delivery_senders,
    ) -> None:
        self._settings = settings
        # As the project's own administrator: triggers on these tables run with its rights, not with a superuser's.
        self._pool = open_pool(access.conninfo("postgres"), max_size=POOL_SIZE, name="notify-jobs")
        self._ways = ways
        self._build_senders = build_senders
        self._stack = AsyncExitStack()
        self._handlers: Mapping[str, Handler] = {}

    @property
    def handlers(self) -> Mapping[str, Handler]:
        return self._handlers

    async def open(self) -> None:
        """Raises ConfigError for a provider that cannot be used as it is configured."""
        self._stack.push_async_callback(self._pool.close)
        await self._pool.open()
        senders = self._build_senders(self._settings, self._pool)
        for sender in senders.values():
            self._stack.push_async_callback(sender.close)
        notify = self._settings.notify
        book = TemplateBook(self._pool, default_locale=notify.default_locale)
        self._handlers = {
            "basalt.notify.expand": Expander(self._pool, book, senders, self._ways, notify).expand,
            "basalt.notify.fall_back": FallBack(self._pool, book, senders).fall_back,
            "basalt.notify.digest": DigestGatherer(self._pool, book, senders).gather,
            "basalt.notify.receipts": ReceiptGatherer(self._pool, senders).gather,
        }

    async def close(self) -> None:
        await self._stack.aclose()
