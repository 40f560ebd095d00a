"""`GET /oauth/authorize`: where a client sends the browser of its user (RFC 6749 §4.1.1; GoTrue
oauthserver/authorize.go).

The request is kept, and the browser goes on to the page of the project's site that asks for consent. Nothing is sent to
a redirect URI before it is known to be the client's. Redirects carry `iss` (RFC 9207), so that a client of several
servers cannot mistake who answered.
"""

import re
import secrets
import string
from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

from basalt.auth.call import Auth, Call
from basalt.auth.errors import AuthError
from basalt.auth.oauth_server.clients import Client, load_client, parse_client_id
from basalt.auth.oauth_server.discovery import check_enabled, find_unknown_scope, parse_scopes
from basalt.auth.redirects import with_query
from basalt.http import Response

ID_CHARACTERS: Final = string.ascii_letters + string.digits
CHALLENGE: Final = re.compile(r"[A-Za-z0-9\-._~]+")
MOST: Final = {"scope": 2048, "state": 4096, "resource": 2048, "nonce": 255}  # as the tables have room

INSERT_AUTHORIZATION: Final = """
insert into auth.oauth_authorizations (id, authorization_id, client_id, redirect_uri, scope, state, resource,
    code_challenge, code_challenge_method, nonce, created_at, expires_at)
values (%(id)s, %(authorization_id)s, %(client_id)s, %(redirect_uri)s, %(scope)s, nullif(%(state)s, ''),
    nullif(%(resource)s, ''), %(code_challenge)s, 's256', nullif(%(nonce)s, ''), now(),
    now() + make_interval(secs => %(ttl_s)s))
"""


async def authorize(call: Call) -> Response:
    """Raises AuthError feature_disabled, validation_failed, oauth_client_not_found while there is nobody to redirect
    to; what is wrong with the rest goes to the client."""
    check_enabled(call)
    asked = call.query
    client = await _named_client(call, asked)
    redirect_uri = asked["redirect_uri"]
    scopes = parse_scopes(asked.get("scope") or call.settings.oauth_server.default_scope)
    state = asked.get("state", "")
    problem = _find_problem(call, scopes)
    if problem is not None:
        values = {"error": "invalid_request", "error_description": problem, "state": state}
        return _redirect(answer_url(call.auth, redirect_uri, values))
    if not call.settings.oauth_server.authorization_url_path:
        problem = "oauth authorization path not configured"
        values = {"error": "server_error", "error_description": problem, "state": state}
        return _redirect(answer_url(call.auth, redirect_uri, values))
    authorization_id = await _keep(call, client, scopes)
    return _redirect(_consent_url(call.auth, authorization_id))


def answer_url(auth: Auth, redirect_uri: str, values: Mapping[str, str]) -> str:
    """The client's redirect URI with our answer; empty values stay away."""
    given = {name: value for name, value in values.items() if value}
    return with_query(redirect_uri, {**given, "iss": auth.issuer})


async def _named_client(call: Call, asked: Mapping[str, str]) -> Client:
    """The client, its redirect URI checked letter by letter (RFC 9700 §2.1)."""
    for name in ("client_id", "redirect_uri"):
        if not asked.get(name):
            raise AuthError("validation_failed", f"{name} is required")
    client_id = parse_client_id(asked["client_id"])
    if client_id is None:
        raise AuthError("oauth_client_not_found", "invalid client_id format", status=400)
    async with call.auth.transaction() as tx:
        client = await load_client(tx, client_id)
    if client is None:
        raise AuthError("oauth_client_not_found", "invalid client_id", status=400)
    repeated = _repeated(call)
    if asked["redirect_uri"] not in client.redirect_uris or repeated & {"client_id", "redirect_uri"}:
        raise AuthError("validation_failed", "invalid redirect_uri")
    return client


def _find_problem(call: Call, scopes: list[str]) -> str | None:
    asked = call.query
    if asked.get("response_type", "") not in ("", "code"):
        return "only response_type=code is supported"
    if not scopes:
        return "scope parameter cannot be empty"
    unknown = find_unknown_scope(scopes)
    if unknown is not None:
        return f"unsupported scope: {unknown[:100]}"
    for name, most in MOST.items():
        if len(asked.get(name, "")) > most:
            return f"{name} cannot exceed {most} characters"
    repeated = _repeated(call)
    if repeated - {"resource"}:  # RFC 8707 §2 lets there be several resources; we take the first
        return f"{min(repeated)[:100]} must not be given more than once"
    return _find_resource_problem(asked.get("resource", "")) or _find_pkce_problem(asked)


def _find_pkce_problem(asked: Mapping[str, str]) -> str | None:
    """OAuth 2.1 §4.1.1: everybody proves with S256. GoTrue also takes `plain`, which proves nothing to whoever has
    seen the request."""
    challenge, method = asked.get("code_challenge", ""), asked.get("code_challenge_method", "")
    if not challenge or not method:
        return "PKCE flow requires both code_challenge and code_challenge_method"
    if method.lower() != "s256":
        return "code_challenge_method must be 'S256'"
    if not 43 <= len(challenge) <= 128:
        return "code_challenge must be between 43 and 128 characters"
    if CHALLENGE.fullmatch(challenge) is None:
        return "code_challenge can only contain letters, digits, hyphens, periods, underscores and tildes"
    return None


def _find_resource_problem(resource: str) -> str | None:
    """RFC 8707 §2."""
    if not resource:
        return None
    try:
        parts = urlsplit(resource)
    except ValueError:
        return "resource must be a valid URI"
    if not parts.scheme:
        return "resource must be an absolute URI"
    if parts.fragment:
        return "resource must not include a fragment component"
    if parts.query:
        return "resource must not include a query component"
    return None


def _repeated(call: Call) -> set[str]:
    """Parameters that occur more than once, against RFC 6749 §3.1: two readers might see different ones."""
    return {name for name, count in Counter(name for name, _ in call.request.query()).items() if count > 1}


async def _keep(call: Call, client: Client, scopes: list[str]) -> str:
    asked = call.query
    authorization_id = "".join(secrets.choice(ID_CHARACTERS) for _ in range(32))
    parameters = {
        "id": uuid4(),
        "authorization_id": authorization_id,
        "client_id": client.id,
        "redirect_uri": asked["redirect_uri"],
        "scope": " ".join(scopes),
        "code_challenge": asked["code_challenge"],
        "ttl_s": call.settings.oauth_server.authorization_ttl_s,
        **{name: asked.get(name, "") for name in ("state", "resource", "nonce")},
    }
    async with call.auth.transaction() as tx:
        await tx.execute(INSERT_AUTHORIZATION, parameters)
    return authorization_id


def _consent_url(auth: Auth, authorization_id: str) -> str:
    site = auth.settings.site_url.rstrip("/")
    path = auth.settings.oauth_server.authorization_url_path.lstrip("/")
    return with_query(f"{site}/{path}", {"authorization_id": authorization_id})


def _redirect(url: str) -> Response:
    return Response(HTTPStatus.FOUND, [(b"location", url.encode()), (b"cache-control", b"no-store")])
