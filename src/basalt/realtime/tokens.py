"""Who speaks on a socket or a channel: API keys and access tokens, through the `authorise` of every other service.

Realtime asks for more than the others: a token must name a role and its expiry, and there is no leeway."""

import time
from typing import Any

import jwt

from basalt.access import AccessError, Authoriser, Caller
from basalt.http import Request
from basalt.postgres import LanePool, Query
from basalt.realtime.errors import (
    API_KEY_MISSING,
    HandshakeError,
    TokenError,
    claims_missing,
    expiry_invalid,
    role_unknown,
    signature_wrong,
    token_expired,
    token_malformed,
)

# What REST's login may become. Realtime's own may become more: nothing else keeps a token of any other role out.
LOAD_ROLES = """
select rolname
from pg_catalog.pg_roles
where pg_catalog.pg_has_role('authenticator', oid, 'member') and rolname <> 'authenticator'
"""


class Gate:
    """Lets in whom the `authoriser` knows, in roles that a request may have. `roles` is to be loaded before the first
    client comes and again now and then: a role that was made since is let in from then on."""

    def __init__(self, authoriser: Authoriser) -> None:
        self._authoriser = authoriser
        self._roles: frozenset[str] = frozenset()

    async def load_roles(self, lanes: LanePool) -> None:
        """Raises PostgresError, LanesUnavailable; then the roles before stay."""
        (result,) = await lanes.execute([Query(LOAD_ROLES)], read_only=True)
        self._roles = frozenset(row[0].decode() for row in result.rows if row[0] is not None)

    def open_handshake(self, request: Request) -> Caller:
        """The caller behind `x-api-key` or `apikey`. Raises HandshakeError 401."""
        sent = request.headers.get("x-api-key") or next(
            (value for name, value in request.query() if name == "apikey"), None
        )
        if not sent or not sent.strip():
            raise HandshakeError(401, API_KEY_MISSING)
        try:
            return self.open(sent)
        except TokenError as error:
            raise HandshakeError(401, error.handshake_message) from error

    def open(self, token: str) -> Caller:
        """The caller behind an API key of the project or an access token, blanks around it ignored. Raises
        TokenError."""
        token = token.strip()
        known = self._authoriser.caller_of_api_key(token)
        if known is not None:
            return known
        try:
            caller = self._authoriser.verify(token)
        except AccessError as error:
            raise _translate(error, token) from error
        claims = _claims(token)
        if not isinstance(claims.get("role"), str) or claims.get("exp") is None:
            raise claims_missing()
        if caller.role not in self._roles:
            raise role_unknown()
        check_alive(caller)
        return caller


def check_alive(caller: Caller) -> None:
    """Raises TokenError when the caller's token has expired by now."""
    if caller.expires_at is not None and caller.expires_at <= (now := time.time()):
        raise token_expired(int(now - caller.expires_at))


def _translate(error: AccessError, token: str) -> TokenError:
    match error.reason:
        case "expired":
            return token_expired(int(time.time() - float(_claims(token)["exp"])))
        case "signature" | "unsupported_algorithm" | "audience" | "unknown_key":
            return signature_wrong()
        case "claims" if isinstance(_claims(token).get("exp"), (str, bool, list, dict)):
            return expiry_invalid()
        case _:
            return token_malformed()


def _claims(token: str) -> dict[str, Any]:
    """What a token says of itself: only for the wording, after its signature was looked at."""
    try:
        return jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return {}
