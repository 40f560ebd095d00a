"""The door of the room: finds the route, checks who calls, runs the flow, and renders what went wrong."""

import asyncio

import psycopg
import psycopg_pool

from basalt import observe
from basalt.access import Authoriser, ProjectKeys
from basalt.auth import sso
from basalt.auth.breached import open_breach_list
from basalt.auth.call import Auth, Call, require_admin, require_user
from basalt.auth.captcha import Captcha
from basalt.auth.cleanup import keep_clean
from basalt.auth.delivery import build_messenger
from basalt.auth.errors import AuthError, OAuthError, auth_error, render_error, render_oauth_error
from basalt.auth.hooks import Hooks
from basalt.auth.limits import Limits
from basalt.auth.new_users import run_new_user_hooks
from basalt.auth.oauth.issuers import Issuers
from basalt.auth.oauth_server.discovery import check_open_to_clients
from basalt.auth.pace import Pace
from basalt.auth.password_rules import PasswordRules
from basalt.auth.passwords import DEFAULT_ROUNDS, PasswordHasher
from basalt.auth.redirects import Redirects
from basalt.auth.routes import ROUTES, modules_in_use
from basalt.config import Settings
from basalt.errors import BasaltError
from basalt.http import OutgoingClient, Request, Response, Route
from basalt.kv import RateStore
from basalt.late import import_all
from basalt.postgres import DatabaseAccess, LanePool, PostgresError, open_pool
from basalt.senders import Inbox, Sender

POOL_SIZE = 16
LANES = 3
INBOX_POOL_SIZE = 4

ERRORS = observe.Counter("basalt_auth_errors_total", "Errors by GoTrue's code.", ["code"])


class AuthService:
    """`/auth/v1`. Connects as `supabase_auth_admin`. Mails and text messages leave by the settings' server and
    provider, by the Inbox where there is none, or all by `sender`. `rates` counts for all gateways together. Raises
    ConfigError for settings of theirs that will not do."""

    def __init__(
        self,
        settings: Settings,
        keys: ProjectKeys,
        authoriser: Authoriser,
        access: DatabaseAccess,
        sender: Sender | None = None,
        *,
        bcrypt_rounds: int = DEFAULT_ROUNDS,
        rates: RateStore | None = None,
    ) -> None:
        base_url = settings.api_url
        conninfo = access.conninfo("supabase_auth_admin")
        self._pool = open_pool(conninfo, max_size=POOL_SIZE, name="auth")
        self._lanes = LanePool(conninfo, size=LANES, name="auth")
        # A pool of its own: flows send while they hold a connection of the other one.
        self._inbox_pool = open_pool(conninfo, max_size=INBOX_POOL_SIZE, name="auth-inbox")
        self._http = OutgoingClient()
        allows_private = settings.auth.custom_providers.allow_private_addresses
        self._guarded_http = OutgoingClient(is_guarded=not allows_private)
        self._metadata_http = OutgoingClient(is_guarded=not settings.auth.saml.allow_private_addresses)
        self._passwords = PasswordHasher(rounds=bcrypt_rounds)
        self._captcha = Captcha(settings.auth.captcha, self._http)
        hooks = Hooks(settings.auth.hook, self._http)
        breached = open_breach_list(settings.auth.breached_passwords, settings.project_dir, self._http)
        messages, self._smtp = build_messenger(settings, hooks, self._http, Inbox(self._inbox_pool), sender)
        self._auth = Auth(
            settings=settings.auth,
            base_url=base_url,
            keys=keys,
            authoriser=authoriser,
            pool=self._pool,
            lanes=self._lanes,
            passwords=self._passwords,
            password_rules=PasswordRules(settings.auth, breached),
            messages=messages,
            redirects=Redirects(settings.auth),
            hooks=hooks,
            http=self._http,
            issuers=Issuers(self._http),
            custom_issuers=Issuers(self._guarded_http, allows_plain_http=allows_private),
            saml=sso.load_service_provider(settings.auth.saml, base_url)
            if settings.auth.saml.enabled
            else None,
            metadata_http=self._metadata_http,
            limits=Limits(
                settings.auth,
                header=settings.basalt.address_header,
                knows_proxies=bool(settings.basalt.trusted_proxies),
                rates=rates,
            ),
            pace=Pace(),
        )

    async def open(self) -> None:
        await asyncio.to_thread(import_all, modules_in_use(self._auth.settings))
        await self._pool.open()
        await self._lanes.open()
        self._cleanup = asyncio.create_task(keep_clean(self._lanes, self._auth.settings))
        await self._inbox_pool.open()

    async def close(self) -> None:
        self._cleanup.cancel()
        await self._lanes.close()
        await self._pool.close()
        await self._inbox_pool.close()
        await self._http.close()
        await self._guarded_http.close()
        await self._metadata_http.close()
        if self._smtp is not None:
            await self._smtp.close()
        self._passwords.close()

    def refuse(self, error: BasaltError, request: Request) -> Response:
        """The answer to a request that was refused before it came here."""
        return render_error(auth_error(error), request.headers, request.request_id)

    async def respond(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except OAuthError as error:
            ERRORS.add(1, error.code)
            return render_oauth_error(error)
        except BasaltError as error:
            failure = auth_error(error)
        except (psycopg.OperationalError, psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests) as error:
            failure = AuthError("unavailable", headers=[("Retry-After", "1")])
            failure.__cause__ = error
        except PostgresError as error:
            failure = AuthError("unavailable" if error.is_fatal else "unexpected_failure")
            failure.__cause__ = error
        except psycopg.DataError as error:
            failure = AuthError("validation_failed", "The request holds a value that cannot be stored")
            failure.__cause__ = error
        except Exception as error:
            failure = AuthError("unexpected_failure")
            failure.__cause__ = error
        ERRORS.add(1, failure.code)
        if failure.status >= 500:
            _report(request, failure)
        return render_error(failure, request.headers, request.request_id)

    async def _answer(self, request: Request) -> Response:
        route, segments = _find_route(request)
        call = Call(self._auth, request)
        match route.access:
            case "user":
                await require_user(call)
                check_open_to_clients(call, route.method, route.path)
            case "admin":
                await require_admin(call)
            case _:
                pass
        await self._captcha.check(call, route)
        try:
            return await route.handler(call, **segments)
        finally:  # a flow may keep the user and still refuse the request
            if call.new_users:
                await run_new_user_hooks(call)


def _find_route(request: Request) -> tuple[Route, dict[str, str]]:
    found = ROUTES.find(request)
    if found is None:
        raise AuthError("not_found")
    # Mail scanners look at links with HEAD; the code in it must survive that.
    if request.method == "HEAD" and found[0].path in ("/verify", "/reauthenticate"):
        raise AuthError("method_not_allowed")
    return found


def _report(request: Request, failure: AuthError) -> None:
    """Tell the log why. Of PostgreSQL's words only the first: details hold whole rows, hashes too."""
    cause = failure.__cause__
    if isinstance(cause, psycopg.Error):
        observe.event(
            "auth_failed",
            level="error",
            path=request.path,
            code=failure.code,
            sqlstate=cause.sqlstate,
            reason=cause.diag.message_primary or type(cause).__name__,
        )
    else:
        observe.event("auth_failed", level="error", path=request.path, code=failure.code, error=cause)
