"""The door of the room: finds the route, checks who calls, runs the flow, and renders what went wrong."""

import psycopg
import psycopg_pool

from basalt import observe
from basalt.access import Authoriser, ProjectKeys
from basalt.auth.call import Auth, Call, require_admin, require_user
from basalt.auth.delivery import build_messenger
from basalt.auth.errors import AuthError, OAuthError, auth_error, render_error, render_oauth_error
from basalt.auth.hooks import Hooks
from basalt.auth.limits import Limits
from basalt.auth.passwords import DEFAULT_ROUNDS, PasswordHasher
from basalt.auth.redirects import Redirects
from basalt.auth.routes import ROUTES
from basalt.config import Settings
from basalt.errors import BasaltError
from basalt.http import OutgoingClient, Request, Response, Route
from basalt.postgres import DatabaseAccess, open_pool
from basalt.senders import Inbox, Sender

POOL_SIZE = 16
INBOX_POOL_SIZE = 4


class AuthService:
    """`/auth/v1`. Connects as `supabase_auth_admin`. Mails and text messages leave by the settings' server and
    provider, by the Inbox where there is none, or all by `sender`. Raises ConfigError for settings of theirs that
    will not do."""

    def __init__(
        self,
        settings: Settings,
        keys: ProjectKeys,
        authoriser: Authoriser,
        access: DatabaseAccess,
        sender: Sender | None = None,
        *,
        bcrypt_rounds: int = DEFAULT_ROUNDS,
    ) -> None:
        base_url = settings.api_url
        conninfo = access.conninfo("supabase_auth_admin")
        self._pool = open_pool(conninfo, max_size=POOL_SIZE, name="auth")
        # A pool of its own: flows send while they hold a connection of the other one.
        self._inbox_pool = open_pool(conninfo, max_size=INBOX_POOL_SIZE, name="auth-inbox")
        self._http = OutgoingClient()
        self._passwords = PasswordHasher(rounds=bcrypt_rounds)
        hooks = Hooks(settings.auth.hook, self._http)
        messages, self._smtp = build_messenger(settings, hooks, self._http, Inbox(self._inbox_pool), sender)
        self._auth = Auth(
            settings=settings.auth,
            base_url=base_url,
            keys=keys,
            authoriser=authoriser,
            pool=self._pool,
            passwords=self._passwords,
            messages=messages,
            redirects=Redirects(settings.auth),
            hooks=hooks,
            http=self._http,
            limits=Limits(settings.auth, header=settings.basalt.client_address_header),
        )

    async def open(self) -> None:
        await self._pool.open()
        await self._inbox_pool.open()

    async def close(self) -> None:
        await self._pool.close()
        await self._inbox_pool.close()
        await self._http.close()
        if self._smtp is not None:
            await self._smtp.close()
        self._passwords.close()

    async def respond(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except OAuthError as error:
            return render_oauth_error(error)
        except BasaltError as error:
            failure = auth_error(error)
        except (psycopg.OperationalError, psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests) as error:
            failure = AuthError("unavailable", headers=[("Retry-After", "1")])
            failure.__cause__ = error
        except psycopg.DataError as error:
            failure = AuthError("validation_failed", "The request holds a value that cannot be stored")
            failure.__cause__ = error
        except Exception as error:
            failure = AuthError("unexpected_failure")
            failure.__cause__ = error
        if failure.status >= 500:
            _report(request, failure)
        return render_error(failure, request.headers, request.request_id)

    async def _answer(self, request: Request) -> Response:
        route, segments = _find_route(request)
        call = Call(self._auth, request)
        match route.access:
            case "user":
                await require_user(call)
            case "admin":
                await require_admin(call)
            case _:
                pass
        return await route.handler(call, **segments)


def _find_route(request: Request) -> tuple[Route, dict[str, str]]:
    found = ROUTES.match(request.method, request.raw_path)
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
