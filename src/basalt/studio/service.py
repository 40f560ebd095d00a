"""The console's pages and who may see them.

On a development machine the console is open to browsers on the machine itself; anybody else needs the secret key. "On
the machine itself" is taken strictly, because web pages can make a browser ask 127.0.0.1 too: the request names a
loopback host (no DNS rebinding), comes from no other origin and through no proxy. A project whose API has a public
address (`api.external_url`) is no development machine's: the proxy before it may name a loopback host and nobody else,
as nginx does unless it is told otherwise.
"""

from dataclasses import asdict
from functools import cached_property
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from basalt.access import AccessError, Authoriser
from basalt.config import Settings
from basalt.errors import BasaltError
from basalt.http import Request, Response, Route, RouteTable, json_response
from basalt.late import LateModule
from basalt.postgres import DatabaseAccess, open_pool
from basalt.realtime import RealtimeService
from basalt.studio.inbox import InboxPages

if TYPE_CHECKING:
    import jinja2
else:
    jinja2 = LateModule("jinja2")

POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

PROXY_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")

# `restart_lsn`: from where on the server keeps its log for the slot.
LOAD_SLOTS = """
select slot_name, active, confirmed_flush_lsn::text as confirmed,
    pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint as lag_bytes,
    pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint as kept_bytes
from pg_catalog.pg_replication_slots
where slot_type = 'logical' and database = current_database()
order by slot_name
"""


class StudioService:
    """Reads as `service_role` through the pool of the authenticator's login."""

    def __init__(
        self,
        settings: Settings,
        authoriser: Authoriser,
        access: DatabaseAccess,
        *,
        realtime: RealtimeService | None = None,
    ) -> None:
        self._realtime = realtime
        self._settings = settings
        self._authoriser = authoriser
        self._is_development = not _is_public(
            urlsplit(settings.api.external_url or "").hostname or "localhost"
        )
        self._pool = open_pool(access.conninfo("postgres"), max_size=2, name="studio")
        self.routes = RouteTable(
            [
                Route("GET", "/", "operator", self._show_home),
                *InboxPages(settings.notify, self._pool, self._page).routes,
                Route("GET", "/realtime", "operator", self._show_realtime),
                Route("GET", "/realtime.json", "operator", self._describe_realtime),
            ]
        )

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    async def respond(self, request: Request) -> Response:
        found = self.routes.find(request)
        if found is None:
            raise BasaltError("not_found", 404, "The console has no such page")
        self._check_access(request)
        route, segments = found
        response: Response = await route.handler(request, **segments)
        return response

    async def _show_home(self, request: Request) -> Response:
        functions = self._settings.supabase_dir / "functions"
        names = sorted(path.parent.name for path in functions.glob("*/index.py"))
        return self._page("home.html", functions=names)

    async def _show_realtime(self, request: Request) -> Response:
        status = None if self._realtime is None else self._realtime.status()
        return self._page("realtime.html", status=status, slots=await self._load_slots())

    async def _describe_realtime(self, request: Request) -> Response:
        status = None if self._realtime is None else asdict(self._realtime.status())
        return json_response({"realtime": status, "slots": await self._load_slots()})

    async def _load_slots(self) -> list[dict[str, Any]]:
        async with self._pool.connection() as connection:
            return list(await (await connection.execute(LOAD_SLOTS)).fetchall())

    @cached_property
    def _templates(self) -> "jinja2.Environment":
        return jinja2.Environment(loader=jinja2.PackageLoader("basalt.studio"), autoescape=True)

    def _page(self, template: str, *, policy: str = POLICY, **values: Any) -> Response:
        html = self._templates.get_template(template).render(settings=self._settings, **values)
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", policy.encode()),
            (b"referrer-policy", b"no-referrer"),
            (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"no-store"),
        ]
        return Response(200, headers, html.encode())

    def _check_access(self, request: Request) -> None:
        if self._has_secret_key(request) or (self._is_development and _is_from_this_machine(request)):
            return
        raise BasaltError(
            "console_forbidden",
            403,
            "The console is open to a browser on this machine only, and with a public api.external_url to none",
            hint="Send the secret key in the `apikey` header",
        )

    def _has_secret_key(self, request: Request) -> bool:
        try:
            return self._authoriser.authorise(request.headers).role == "service_role"
        except AccessError:
            return False


def _is_from_this_machine(request: Request) -> bool:
    headers = request.headers
    is_direct = not any(name in headers for name in PROXY_HEADERS)
    is_same_site = headers.get("sec-fetch-site", "none") in ("none", "same-origin")
    return (
        is_direct
        and is_same_site
        and "origin" not in headers
        and _is_loopback(request.client_ip)
        and _is_loopback(urlsplit(f"//{headers.get('host', '')}").hostname or "")
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_public(host: str) -> bool:
    try:
        return ip_address(host).is_global
    except ValueError:
        return host != "localhost"
