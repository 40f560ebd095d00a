"""Who asks at the token endpoint: the request's fields, and the client's proof of who it is (RFC 6749 §2.3, §3.2;
GoTrue oauthserver/auth.go, middleware.go requireOAuthClientAuth).

Errors are those of RFC 6749 §5.2, where GoTrue answers in its own shape: the callers are OAuth clients.
"""

import base64
import binascii
from typing import Final
from urllib.parse import parse_qsl, unquote_plus

import msgspec

from basalt.auth.call import Call
from basalt.auth.errors import AuthError, OAuthError
from basalt.auth.oauth_server.clients import Client, is_client_secret, load_client, parse_client_id
from basalt.auth.parameters import MAX_BODY_BYTES, parse_parameters
from basalt.http import Request

FORM: Final = "application/x-www-form-urlencoded"
CHALLENGE: Final = (("www-authenticate", 'Basic realm="oauth"'),)


class TokenRequest(msgspec.Struct):
    grant_type: str = ""
    code: str = ""
    refresh_token: str = ""
    redirect_uri: str = ""
    client_id: str = ""
    client_secret: str = ""
    code_verifier: str = ""
    resource: str = ""


async def read_token_request(request: Request) -> TokenRequest:
    """A form as RFC 6749 has it, or JSON as GoTrue allows. What the URL holds does not count: it ends up in
    logs. Raises OAuthError invalid_request."""
    body = await request.body(MAX_BODY_BYTES)
    content_type = (request.headers.get("content-type") or "").lower()
    if "application/json" in content_type:
        try:
            return parse_parameters(body, TokenRequest)
        except AuthError as exc:
            raise OAuthError("invalid_request", "Invalid JSON body") from exc
    if not content_type.startswith(FORM):
        return TokenRequest()
    return msgspec.convert(_parse_form(body), TokenRequest)


async def authenticate_client(call: Call, given: TokenRequest) -> Client:
    """Raises OAuthError invalid_client, invalid_request."""
    authorization = call.request.headers.get("authorization") or ""
    if authorization[:6].lower() == "basic ":
        client_id, secret = _parse_basic(authorization[6:])
        if given.client_secret or given.client_id not in ("", client_id):
            raise OAuthError("invalid_request", "Only one way of client authentication may be used")
        return await _authenticate(call, client_id, secret, "client_secret_basic")
    method = "client_secret_post" if given.client_secret else "none"
    return await _authenticate(call, given.client_id, given.client_secret, method)


async def _authenticate(call: Call, client_id: str, secret: str, method: str) -> Client:
    if not client_id:
        raise _refusal("Invalid client credentials: client_id is required", method)
    parsed = parse_client_id(client_id)
    if parsed is None:
        raise _refusal("Invalid client_id format", method)
    async with call.auth.transaction() as tx:
        client = await load_client(tx, parsed)
    if client is None:
        raise _refusal("Invalid client credentials", method)
    if method != client.auth_method:
        message = (
            f"invalid authentication method: client is registered for '{client.auth_method}'"
            f" but '{method}' was used"
        )
        raise _refusal(message, method)
    if client.is_confidential and not is_client_secret(client, secret):
        raise _refusal("invalid client credentials", method)
    return client


def _refusal(description: str, method: str) -> OAuthError:
    """401 for whoever used the header, as RFC 6749 §5.2 demands; GoTrue's 400 otherwise."""
    if method == "client_secret_basic":
        return OAuthError("invalid_client", description, status=401, headers=CHALLENGE)
    return OAuthError("invalid_client", description)


def _parse_basic(encoded: str) -> tuple[str, str]:
    """Client id and secret, each form-encoded before they were joined (RFC 6749 §2.3.1)."""
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as exc:
        message = "Invalid client credentials: invalid basic auth encoding"
        raise _refusal(message, "client_secret_basic") from exc
    client_id, colon, secret = text.partition(":")
    if not colon:
        message = "Invalid client credentials: invalid basic auth format"
        raise _refusal(message, "client_secret_basic")
    return unquote_plus(client_id), unquote_plus(secret)


def _parse_form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError as exc:
        raise OAuthError("invalid_request", "Failed to parse form data") from exc
    fields = dict(pairs)
    if "\x00" in "".join(fields.values()):
        raise OAuthError("invalid_request", "The form holds a NUL character")
    names = [name for name, _ in pairs if name in TokenRequest.__struct_fields__ and name != "resource"]
    if len(set(names)) < len(names):  # RFC 6749 §3.2; RFC 8707 §2 lets there be several resources
        raise OAuthError("invalid_request", "Parameters must not be given more than once")
    return fields
