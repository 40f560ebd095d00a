"""`/notify/v1`: events from outside the database, templates tried out, and what providers report. A request finds its
route, its caller is checked, its handler answers; errors are structured ones (`basalt.errors.render_error`)."""

from collections.abc import Mapping

import psycopg
import psycopg_pool

from basalt.access import Authoriser
from basalt.config import Settings
from basalt.http import Request, Response
from basalt.notify.call import Call, NotifyContext
from basalt.notify.errors import NotifyError
from basalt.notify.routes import ROUTES
from basalt.notify.template_book import TemplateBook
from basalt.postgres import DatabaseAccess, open_pool
from basalt.senders import ReportReader

MAX_CONNECTIONS = 4


class NotifyService:
    """`readers` are those of the providers whose reports are taken, by name."""

    def __init__(
        self,
        settings: Settings,
        authoriser: Authoriser,
        access: DatabaseAccess,
        readers: Mapping[str, ReportReader],
    ) -> None:
        self._authoriser = authoriser
        self._pool = open_pool(access.conninfo("postgres"), max_size=MAX_CONNECTIONS, name="notify")
        book = TemplateBook(self._pool, default_locale=settings.notify.default_locale)
        self._ctx = NotifyContext(settings.notify, self._pool, book, readers)

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    async def respond(self, request: Request) -> Response:
        found = ROUTES.find(request)
        if found is None:
            raise NotifyError("notify_route_not_found")
        route, segments = found
        if route.access == "admin" and self._authoriser.authorise(request.headers).role != "service_role":
            raise NotifyError("notify_forbidden")
        try:
            response: Response = await route.handler(Call(self._ctx, request), **segments)
        except (psycopg.OperationalError, psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests) as exc:
            raise NotifyError("notify_busy") from exc
        return response
