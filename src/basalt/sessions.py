"""Sessions in cookies, for pages that are rendered by a server: the same cookies that `@supabase/ssr` writes, so that
Python and JavaScript fronts of one site share a sign-in. For users' own code; nothing in Basalt needs it.

A session is JSON, base64url-encoded behind `base64-`, in one cookie or, beyond 3,180 bytes, in several that are named
`NAME.0`, `NAME.1` … A cookie proves nothing: whoever reads a session must have its access token verified (by
`auth.get_user` or the JWKS) before believing a word of it.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

CHUNK_BYTES: Final = 3180
MAX_CHUNKS: Final = 20  # browsers send no more than this in all
MAX_AGE_S: Final = 400 * 86400  # the most that browsers allow
PREFIX: Final = "base64-"
BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")
CHUNK_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,3}")
COOKIE_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 6265 §4.1.1
NO_STORE: Final = {"cache-control": "private, no-cache, no-store, must-revalidate, max-age=0"}


class SessionCookies:
    """The session cookies of one site. `project_url` names them, as in supabase-js; they are `Secure` where `site_url`
    is https. Scripts cannot read them unless `http_only` is false, which a browser client of `@supabase/ssr` on the
    same site needs. An answer that sets cookies should carry `NO_STORE`."""

    def __init__(
        self,
        project_url: str,
        site_url: str,
        *,
        name: str | None = None,
        domain: str | None = None,
        http_only: bool = True,
    ) -> None:
        host = urlsplit(project_url).hostname or ""
        self.name = name or f"sb-{host.split('.')[0]}-auth-token"
        if COOKIE_NAME.fullmatch(self.name) is None or (domain and COOKIE_NAME.fullmatch(domain) is None):
            raise ValueError("The project's URL, the name or the domain cannot be used for a cookie")
        self._attributes = "; Path=/"
        self._attributes += f"; Domain={domain}" if domain else ""
        self._attributes += "; HttpOnly" if http_only else ""
        self._attributes += "; Secure" if urlsplit(site_url).scheme == "https" else ""
        self._attributes += "; SameSite=Lax"

    def read(self, cookie_header: str) -> dict[str, Any] | None:
        """The session in a request's `Cookie` header; None where there is none, or where it is torn, too long or
        not a session."""
        value = self._joined(parse_cookies(cookie_header))
        if value is None or len(value) > CHUNK_BYTES * MAX_CHUNKS:
            return None
        try:
            session = json.loads(_decode(value))
        except (ValueError, RecursionError):
            return None
        return session if _is_session(session) else None

    def write(self, session: Mapping[str, Any], cookie_header: str = "") -> list[str]:
        """`Set-Cookie` values for a session. Given the request's `Cookie` header, they also take away what an earlier
        and longer session left. Raises ValueError for what is no session or does not fit."""
        if not _is_session(session):
            raise ValueError("A session has at least an access_token and a refresh_token")
        text = json.dumps(dict(session), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        value = PREFIX + base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
        cookies = self._split(value)
        stale = (name for name in self._own(parse_cookies(cookie_header)) if name not in cookies)
        return [*map(self._removal, stale), *(self._cookie(*each, MAX_AGE_S) for each in cookies.items())]

    def clear(self, cookie_header: str) -> list[str]:
        """`Set-Cookie` values that sign the browser out."""
        return [self._removal(name) for name in self._own(parse_cookies(cookie_header))]

    def _joined(self, cookies: Mapping[str, str]) -> str | None:
        """Chunks count up to the first that is missing, and only where there is no cookie without a number."""
        if cookies.get(self.name):
            return cookies[self.name]
        chunks: list[str] = []
        while len(chunks) <= MAX_CHUNKS and (chunk := cookies.get(f"{self.name}.{len(chunks)}")):
            chunks.append(chunk)
        return "".join(chunks) or None

    def _split(self, value: str) -> dict[str, str]:
        if len(value) <= CHUNK_BYTES:
            return {self.name: value}
        chunks = [value[start : start + CHUNK_BYTES] for start in range(0, len(value), CHUNK_BYTES)]
        if len(chunks) > MAX_CHUNKS:
            raise ValueError("The session is too long for cookies; keep less in the user's metadata")
        return {f"{self.name}.{number}": chunk for number, chunk in enumerate(chunks)}

    def _own(self, names: Iterable[str]) -> list[str]:
        """Cookies of this session: the name itself, or with a number behind it."""
        prefix = f"{self.name}."
        return [
            name
            for name in names
            if name == self.name
            or (name.startswith(prefix) and CHUNK_NUMBER.fullmatch(name.removeprefix(prefix)))
        ]

    def _removal(self, name: str) -> str:
        return self._cookie(name, "", 0)

    def _cookie(self, name: str, value: str, max_age_s: int) -> str:
        return f"{name}={value}; Max-Age={max_age_s}{self._attributes}"


def parse_cookies(header: str) -> dict[str, str]:
    """Names and values of a `Cookie` header, percent-escapes decoded. Of one that comes twice the first counts, as in
    the `cookie` package of npm.

    >>> parse_cookies('a=1; b="x%20y"; a=2; c')
    {'a': '1', 'b': 'x y'}
    """
    found: dict[str, str] = {}
    for pair in header.split(";"):
        name, equals, value = pair.strip().partition("=")
        if equals:
            found.setdefault(name.strip(), unquote(value.strip().removeprefix('"').removesuffix('"')))
    return found


def _decode(value: str) -> str:
    """The JSON in a cookie; older versions of `@supabase/ssr` wrote it as it was. Raises ValueError."""
    if not value.startswith(PREFIX):
        return value
    encoded = value.removeprefix(PREFIX)
    if BASE64URL.fullmatch(encoded) is None:
        raise ValueError("not base64url")
    try:
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode("utf-8")
    except binascii.Error as exc:
        raise ValueError("not base64url") from exc


def _is_session(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(value.get(name), str) and value[name] for name in ("access_token", "refresh_token")
    )
