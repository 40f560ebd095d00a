"""What a flow is given: the request, who speaks, and the few things that every flow needs.

`Auth` is built once per process. A `Call` is made per request by the service, which has already checked the
route's access.
"""

import hmac
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

import msgspec
from psycopg_pool import AsyncConnectionPool

from basalt.access import AccessError, Authoriser, ProjectKeys
from basalt.auth.errors import AuthError
from basalt.auth.hooks import Hooks
from basalt.auth.limits import Limits
from basalt.auth.messages import Messenger
from basalt.auth.oauth.issuers import Issuers
from basalt.auth.pace import Pace
from basalt.auth.parameters import read_parameters
from basalt.auth.password_rules import PasswordRules
from basalt.auth.passwords import PasswordHasher
from basalt.auth.queries import Rows, load_json, run_in_transaction
from basalt.auth.redirects import Redirects
from basalt.auth.sessions import SELECT_SESSION, Device, Session, session_of_json
from basalt.auth.users import SELECT_USER, Transaction, User, user_of_json
from basalt.config import AuthSettings
from basalt.http import OutgoingClient, Request
from basalt.postgres import LanePool, Query

if TYPE_CHECKING:
    from basalt.auth.sso import ServiceProvider

ADMIN_ROLES: Final = frozenset({"service_role", "supabase_admin"})
DEFAULT_AUDIENCE: Final = "authenticated"
BEARER: Final = re.compile(r"bearer (\S+)", re.IGNORECASE)
REASONS: Final = {
    "malformed": "token is malformed",
    "signature": "signature is invalid",
    "expired": "token has invalid claims: token is expired",
    "not_yet_valid": "token has invalid claims: token is not valid yet",
    "audience": "token has invalid claims: token has invalid audience",
    "unsupported_algorithm": "unrecognized JWT kid or algorithm",
}

# A session of another user is none.
LOAD_SPEAKER: Final = f"""
select (select row_to_json(found) from ({SELECT_USER} where u.id = $1) as found),
    (select row_to_json(found) from ({SELECT_SESSION} where s.id = $2 and s.user_id = $1) as found)
"""  # noqa: S608 - put together from constants

WHY_ENDED: Final = """
select basalt.why_session_ended(s, null, $2, $3, $4) from auth.sessions as s where s.id = $1
"""

Shape = TypeVar("Shape", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Auth:
    """The room's own things: settings, keys and engines, without any request."""

    settings: AuthSettings
    base_url: str
    keys: ProjectKeys
    authoriser: Authoriser
    pool: AsyncConnectionPool[Transaction]
    lanes: LanePool
    passwords: PasswordHasher
    password_rules: PasswordRules
    messages: Messenger
    redirects: Redirects
    limits: Limits
    pace: Pace
    hooks: Hooks
    http: OutgoingClient
    issuers: Issuers
    custom_issuers: Issuers  # of providers whose addresses were given over the API
    saml: "ServiceProvider | None"
    metadata_http: OutgoingClient

    @property
    def issuer(self) -> str:
        return self.settings.jwt_issuer or f"{self.base_url}/auth/v1"

    async def run(self, queries: Sequence[Query], tx: Transaction | None = None) -> list[Rows]:
        """Run statements on a lane, in one round trip that is a transaction of its own, or inside `tx`. Raises
        PostgresError and LanesUnavailable, inside `tx` psycopg's errors."""
        if tx is not None:
            return await run_in_transaction(tx, queries)
        return [result.rows for result in await self.lanes.execute(queries)]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A connection of the pool inside one transaction: committed at the end, rolled back by any
        exception."""
        async with self.pool.connection() as connection:
            yield connection


@dataclass(slots=True)
class Call:
    """A request on its way through a flow. `user` and `session` are there on routes for users, `claims` also
    for admins; `new_users` were made on the way, for the hook that is told of them."""

    auth: Auth
    request: Request
    claims: Mapping[str, Any] = field(default_factory=dict)
    signed_in: User | None = None
    session: Session | None = None
    new_users: list[UUID] = field(default_factory=list)
    _query: dict[str, str] | None = None

    @property
    def settings(self) -> AuthSettings:
        return self.auth.settings

    @property
    def user(self) -> User:
        assert self.signed_in is not None
        return self.signed_in

    @property
    def admin(self) -> str:
        """Who acts on an admin route, for the audit log."""
        return str(self.claims.get("role", ""))

    @property
    def query(self) -> Mapping[str, str]:
        """The first value of each query parameter. Raises AuthError validation_failed."""
        if self._query is None:
            self._query = {}
            for name, value in self.request.query():
                if "\x00" in value:
                    raise AuthError("validation_failed", "The query string holds a NUL character")
                self._query.setdefault(name, value)
        return self._query

    @property
    def audience(self) -> str:
        """`X-JWT-AUD`, else the token's audience, else `authenticated` (GoTrue helpers.go requestAud)."""
        asked = self.request.headers.get("x-jwt-aud")
        if asked:
            return asked
        if self.claims.get("role") not in ADMIN_ROLES:
            return _first_audience(self.claims) or DEFAULT_AUDIENCE
        return DEFAULT_AUDIENCE

    @property
    def redirect_to(self) -> str:
        """Where links of this request lead; only ever an allowed URL."""
        headers = self.request.headers
        asked = headers.get("redirect_to") or self.query.get("redirect_to")
        return self.auth.redirects.choose((asked, headers.get("referer")))

    @property
    def device(self) -> Device:
        try:
            ip = str(ip_address(self.request.client_ip))
        except ValueError:
            ip = None
        agent = (self.request.headers.get("user-agent") or "").replace("\x00", "")
        return Device(user_agent=agent or None, ip=ip)

    async def parameters(self, shape: type[Shape]) -> Shape:
        return await read_parameters(self.request, shape)


async def require_user(call: Call) -> None:
    """Fill in user and session from the bearer token. Raises AuthError no_authorization, bad_jwt,
    user_not_found, session_not_found, user_banned."""
    call.claims = _verified_claims(call.auth, _bearer(call))
    subject = call.claims.get("sub")
    if not subject:
        raise AuthError("bad_jwt", "invalid claim: missing sub claim")
    user_id = _uuid(subject)
    if user_id is None:
        raise AuthError("bad_jwt", "invalid claim: sub claim must be a UUID", status=400)
    await _load_speaker(call, user_id)


def require_not_anonymous(call: Call) -> None:
    """Raises AuthError no_authorization (403) for a user who has no address or identity yet."""
    if call.user.is_anonymous:
        message = "Anonymous user not allowed to perform these actions"
        raise AuthError("no_authorization", message, status=403)


async def require_admin(call: Call) -> None:
    """Only tokens and keys of `service_role` or `supabase_admin`. One that names a session needs that session
    alive."""
    call.claims = _verified_claims(call.auth, _admin_token(call))
    if call.claims.get("session_id"):
        user_id = _uuid(call.claims.get("sub"))
        if user_id is None:
            raise AuthError("user_not_found", "User from sub claim in JWT does not exist", status=403)
        await _load_speaker(call, user_id)
        if call.session is not None and await _is_over(call, call.session):
            raise AuthError("session_expired", "Session is no longer valid", status=403)
    if call.claims.get("role") not in ADMIN_ROLES:
        raise AuthError("not_admin")


async def _load_speaker(call: Call, user_id: UUID) -> None:
    """User and session of the token."""
    session_id = _session_id(call.claims)
    params = (str(user_id).encode(), None if session_id is None else str(session_id).encode())
    [[row]] = await call.auth.run([Query(LOAD_SPEAKER, params)])
    user, session = load_json(row[0]), load_json(row[1])
    if user is None:
        raise AuthError("user_not_found", "User from sub claim in JWT does not exist", status=403)
    if session_id is not None and session is None:
        raise AuthError("session_not_found")
    call.signed_in = user_of_json(user)
    call.session = None if session is None else session_of_json(session)
    if call.signed_in.is_banned:
        raise AuthError("user_banned")


async def _is_over(call: Call, session: Session) -> bool:
    """Whether today's limits on sessions have ended it."""
    limits = call.settings.sessions
    seconds = (limits.timebox_s, limits.inactivity_timeout_s, limits.allow_low_aal_s)
    params = (str(session.id).encode(), *(b"%f" % limit for limit in seconds))
    [[(reason,)]] = await call.auth.run([Query(WHY_ENDED, params)])
    return reason is not None


def _session_id(claims: Mapping[str, Any]) -> UUID | None:
    """The session that the token names, if any."""
    named = claims.get("session_id")
    if not named:
        return None
    session_id = _uuid(named)
    if session_id is None:
        raise AuthError("bad_jwt", "invalid claim: session_id claim must be a UUID")
    return session_id if session_id.int else None


def _bearer(call: Call) -> str:
    found = BEARER.fullmatch(call.request.headers.get("authorization") or "")
    if found is None:
        raise AuthError("no_authorization")
    return found[1]


def _admin_token(call: Call) -> str:
    """A bearer token, or the project's secret key alone: that one is made to be sent without a token."""
    key = call.request.headers.get("apikey") or ""
    secret = call.auth.keys.secret_key
    if "authorization" not in call.request.headers and hmac.compare_digest(key.encode(), secret.encode()):
        return secret
    return _bearer(call)


def _verified_claims(auth: Auth, token: str) -> Mapping[str, Any]:
    """The claims of a token, or the bare role of an API key."""
    key = auth.authoriser.caller_of_api_key(token)
    if key is not None:
        return key.claims
    try:
        return auth.authoriser.verify(token).claims
    except AccessError as exc:
        reason = REASONS.get(exc.reason, "token is malformed")
        message = f"invalid JWT: unable to parse or verify signature, {reason}"
        raise AuthError("bad_jwt", message) from exc


def _first_audience(claims: Mapping[str, Any]) -> str | None:
    audience = claims.get("aud")
    first = audience[0] if isinstance(audience, list) and audience else audience
    return first if isinstance(first, str) else None


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
