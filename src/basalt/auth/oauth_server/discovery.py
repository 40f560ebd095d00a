"""What the server is and where its endpoints are: OpenID Connect Discovery and RFC 8414 in one document (GoTrue
jwks.go WellKnownOpenID). Also whether it is on at all, and the scopes it knows."""

from collections.abc import Iterable, Sequence
from typing import Final

from basalt.auth.call import Auth, Call
from basalt.auth.errors import AuthError
from basalt.http import Response, json_response

SCOPES: Final = ("openid", "profile", "email", "phone", "offline_access")
MAX_AGE_S: Final = 600
CLAIMS: Final = (
    "sub",
    "aud",
    "iss",
    "exp",
    "iat",
    "auth_time",
    "nonce",
    "email",
    "email_verified",
    "phone_number",
    "phone_number_verified",
    "name",
    "picture",
    "preferred_username",
    "updated_at",
)
# What a user's token is good for when it was issued to a client. GoTrue lets it do all that its user may; here a client
# can neither consent on behalf of the user nor touch factors, identities, passkeys or other clients' grants.
OPEN_TO_CLIENTS: Final = frozenset(
    {("GET", "/user"), ("PUT", "/user"), ("POST", "/logout"), ("GET", "/oauth/userinfo")}
)


def check_enabled(call: Call) -> None:
    """Raises AuthError feature_disabled."""
    if not call.settings.oauth_server.enabled:
        raise AuthError("feature_disabled", "OAuth server is disabled", status=404)


def check_open_to_clients(call: Call, method: str, path: str) -> None:
    """Raises AuthError no_authorization for what no client's token is good for."""
    is_client = call.session is not None and call.session.grant is not None
    if is_client and (method, path) not in OPEN_TO_CLIENTS:
        message = "Tokens of OAuth clients are not allowed to perform this action"
        raise AuthError("no_authorization", message, status=403)


async def show_openid_configuration(call: Call) -> Response:
    """There also while the server is off, as in GoTrue: it is how verifiers of tokens find the keys."""
    return json_response(_document(call.auth), headers=[("cache-control", f"public, max-age={MAX_AGE_S}")])


async def show_server_metadata(call: Call) -> Response:
    """RFC 8414. Raises AuthError feature_disabled."""
    check_enabled(call)
    return await show_openid_configuration(call)


def parse_scopes(text: str) -> list[str]:
    """
    >>> parse_scopes(" openid  email openid")
    ['openid', 'email']
    """
    return list(dict.fromkeys(text.split()))


def find_unknown_scope(scopes: Iterable[str]) -> str | None:
    return next((scope for scope in scopes if scope not in SCOPES), None)


def _document(auth: Auth) -> dict[str, str | bool | Sequence[str]]:
    base = _endpoint_base(auth)
    document: dict[str, str | bool | Sequence[str]] = {
        "issuer": auth.issuer,
        "authorization_endpoint": f"{base}/oauth/authorize",
        "token_endpoint": f"{base}/oauth/token",
        "jwks_uri": f"{base}/.well-known/jwks.json",
        "userinfo_endpoint": f"{base}/oauth/userinfo",
        "scopes_supported": SCOPES,
        "response_types_supported": ("code",),
        "response_modes_supported": ("query",),
        "grant_types_supported": ("authorization_code", "refresh_token"),
        "subject_types_supported": ("public",),
        "id_token_signing_alg_values_supported": (auth.keys.signing_keys[0].algorithm,),
        "token_endpoint_auth_methods_supported": ("client_secret_basic", "client_secret_post", "none"),
        "claims_supported": CLAIMS,
        "code_challenge_methods_supported": ("S256",),
        "authorization_response_iss_parameter_supported": True,  # RFC 9207
    }
    server = auth.settings.oauth_server
    if server.enabled and server.allow_dynamic_registration:
        document["registration_endpoint"] = f"{base}/oauth/clients/register"
    return document


def _endpoint_base(auth: Auth) -> str:
    """The issuer where it is an address, which it need not be: `jwt_issuer` may be any word."""
    if auth.issuer.startswith(("https://", "http://")):
        return auth.issuer.rstrip("/")
    return f"{auth.base_url}/auth/v1"
