"""What a client says of itself when it registers, and the rules for it: RFC 7591 §2, in GoTrue's words
(oauthserver/service.go, client_auth.go).

Stricter than GoTrue where a value ends up in a link or a redirect: no commas (addresses are stored with commas between
them, so that one with a comma would be read back as two), no user information, no wildcards, ASCII only, and pages
and logos must be http(s).
"""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from basalt.auth.errors import AuthError

AUTH_METHODS: Final = ("none", "client_secret_basic", "client_secret_post")
GRANT_TYPES: Final = ("authorization_code", "refresh_token")
METHODS_OF_TYPE: Final = {
    "public": ("none",),
    "confidential": ("client_secret_basic", "client_secret_post"),
}
DANGEROUS: Final = frozenset({"javascript", "data", "file", "vbscript", "about", "blob"})
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
URL_CHARACTERS: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()+;=%*]+")  # RFC 3986 without the comma
MAX_REDIRECT_URIS: Final = 10
MAX_NAME: Final = 1024
MAX_URI: Final = 2048


class Registration(msgspec.Struct):
    redirect_uris: list[str] = []
    client_type: str = ""
    token_endpoint_auth_method: str = ""
    grant_types: list[str] = []
    response_types: list[str] = []
    client_name: str = ""
    client_uri: str = ""
    logo_uri: str = ""


class Changes(msgspec.Struct):
    """None leaves a field as it is."""

    redirect_uris: list[str] | None = None
    grant_types: list[str] | None = None
    client_name: str | None = None
    client_uri: str | None = None
    logo_uri: str | None = None
    token_endpoint_auth_method: str | None = None


def check_registration(given: Registration) -> None:
    """Raises AuthError validation_failed."""
    if not given.redirect_uris:
        raise AuthError("validation_failed", "redirect_uris is required")
    _check_redirect_uris(given.redirect_uris)
    if given.grant_types:
        _check_grant_types(given.grant_types)
    if given.response_types and "code" not in given.response_types:
        raise AuthError("validation_failed", "response_types must contain 'code'")
    _check_name(given.client_name)
    _check_page("client_uri", given.client_uri)
    _check_page("logo_uri", given.logo_uri)
    if given.client_type not in ("", *METHODS_OF_TYPE):
        raise AuthError("validation_failed", "client_type must be 'public' or 'confidential'")
    method = given.token_endpoint_auth_method
    if method:
        _check_method(method, "token_endpoint_auth_method must be one of")
    if given.client_type and method and type_of_method(method) != given.client_type:
        message = (
            f"client_type '{given.client_type}' is inconsistent with token_endpoint_auth_method '{method}'"
            f" (expected client_type '{type_of_method(method)}')"
        )
        raise AuthError("validation_failed", message)


def check_changes(given: Changes) -> None:
    """Raises AuthError validation_failed."""
    if given == Changes():
        raise AuthError("validation_failed", "No fields provided for update")
    if given.redirect_uris is not None:
        _check_redirect_uris(given.redirect_uris)
    if given.grant_types is not None:
        _check_grant_types(given.grant_types)
    _check_name(given.client_name or "")
    _check_page("client_uri", given.client_uri or "")
    _check_page("logo_uri", given.logo_uri or "")
    if given.token_endpoint_auth_method is not None:
        _check_method(given.token_endpoint_auth_method, "invalid token_endpoint_auth_method: must be one of")


def check_method_of_type(method: str, client_type: str) -> None:
    """Raises AuthError validation_failed."""
    allowed = METHODS_OF_TYPE[client_type]
    if method not in allowed:
        message = (
            f"token_endpoint_auth_method '{method}' is not valid for client_type '{client_type}';"
            f" valid methods: [{' '.join(allowed)}]"
        )
        raise AuthError("validation_failed", message)


def type_of_method(method: str) -> str:
    """A client without a way to authenticate is public. Unsaid, the method is client_secret_basic (RFC 7591 §2)."""
    return "public" if method == "none" else "confidential"


def find_redirect_problem(uri: str) -> str | None:
    """What is wrong with a redirect URI: https, http on the machine itself, or a scheme of the application's own
    (RFC 8252 §7); no fragment (RFC 6749 §3.1.2).

    >>> find_redirect_problem("https://app.example.com/callback") is None
    True
    >>> find_redirect_problem("com.example.app:/callback") is None
    True
    >>> find_redirect_problem("http://app.example.com/callback")
    'HTTP scheme only allowed for localhost'
    >>> find_redirect_problem("https://app.example.com/a,javascript://b")
    'invalid URL format'
    """
    if not uri:
        return "redirect URI cannot be empty"
    if len(uri) > MAX_URI:
        return f"cannot exceed {MAX_URI} characters"
    if URL_CHARACTERS.fullmatch(uri) is None:
        return "invalid URL format"
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return "invalid URL format"
    host = parts.hostname or ""
    # Reverse domain names need no host (RFC 8252 §7.1); GoTrue asks for one from everybody.
    is_own_scheme = "." in parts.scheme and parts.path.startswith("/")
    if not parts.scheme or not (host or is_own_scheme):
        return "must have scheme and host"
    if parts.scheme in DANGEROUS:
        return f"scheme '{parts.scheme}' is not allowed for security reasons"
    if parts.scheme == "http" and host not in LOOPBACK:
        return "HTTP scheme only allowed for localhost"
    if "#" in uri:
        return "fragment not allowed in redirect URI"
    if "@" in parts.netloc:
        return "user information not allowed in redirect URI"
    if "*" in uri:
        return "wildcard not allowed in redirect URI"
    return None


def _check_redirect_uris(uris: Sequence[str]) -> None:
    if not uris:
        raise AuthError("validation_failed", "redirect_uris cannot be empty")
    if len(uris) > MAX_REDIRECT_URIS:
        raise AuthError("validation_failed", f"redirect_uris cannot exceed {MAX_REDIRECT_URIS} items")
    for uri in uris:
        problem = find_redirect_problem(uri)
        if problem is not None:
            raise AuthError("validation_failed", f"invalid redirect_uri '{uri[:200]}': {problem}")


def _check_grant_types(grant_types: Sequence[str]) -> None:
    if not grant_types:
        raise AuthError("validation_failed", "grant_types cannot be empty")
    if not set(grant_types) <= set(GRANT_TYPES):
        message = "grant_types must only contain 'authorization_code' and/or 'refresh_token'"
        raise AuthError("validation_failed", message)


def _check_name(name: str) -> None:
    if len(name) > MAX_NAME:
        raise AuthError("validation_failed", f"client_name cannot exceed {MAX_NAME} characters")


def _check_page(field: str, url: str) -> None:
    """An address that the consent page will link to or show: `javascript:` has no place there."""
    if not url:
        return
    if len(url) > MAX_URI:
        raise AuthError("validation_failed", f"{field} cannot exceed {MAX_URI} characters")
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or url != url.strip():
        raise AuthError("validation_failed", f"{field} must be a valid URL")


def _check_method(method: str, complaint: str) -> None:
    if method not in AUTH_METHODS:
        raise AuthError("validation_failed", f"{complaint}: [{' '.join(AUTH_METHODS)}]")
