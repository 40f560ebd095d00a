"""Where a link may lead: the site itself, loopback addresses, and the globs of `additional_redirect_urls`.

GoTrue utilities/request.go `IsRedirectURLValid`. A URL is parsed whole before any glob sees it: user
information, spaces, control characters and backslashes never pass, since browsers and parsers disagree about
them (auth #1974).
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from basalt.config import AuthSettings

UNSAFE: Final = re.compile(r"[\x00-\x20\x7f-\x9f\\]")
HOSTNAME: Final = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?")
SCHEME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*")
NEVER: Final = frozenset({"javascript", "data", "vbscript", "file", "blob", "about"})


class Redirects:
    """The allow-list of one project, its globs compiled once."""

    def __init__(self, settings: AuthSettings) -> None:
        self._site_url = settings.site_url
        self._site = _split(settings.site_url)
        self._patterns = [compile_glob(pattern) for pattern in settings.additional_redirect_urls]

    def choose(self, candidates: Iterable[str | None]) -> str:
        """The first allowed candidate, else the site's own URL."""
        return next((url for url in candidates if url and self.is_allowed(url)), self._site_url)

    def is_allowed(self, url: str) -> bool:
        parts = _split(url)
        if parts is None:
            return False
        host = parts.hostname or ""
        if self._site is not None and _same_origin(self._site, parts):
            return True
        if host.isdecimal():  # http://2130706433/ is an address in disguise
            return False
        if parts.scheme in ("http", "https"):
            if is_loopback(host) and host != "localhost":
                return True
            if not _is_address(host) and HOSTNAME.fullmatch(host) is None:
                return False
        without_fragment = url.partition("#")[0]
        return any(pattern.fullmatch(without_fragment) for pattern in self._patterns)


def compile_glob(pattern: str) -> re.Pattern[str]:
    """Supabase's globs: `*` and `?` stop at `.` and `/`, `**` does not; `[a-c]`, `[!a]` and `{one,two}` are
    choices.

    >>> bool(compile_glob("https://*.example.com/**").fullmatch("https://app.example.com/a/b?c"))
    True
    >>> bool(compile_glob("https://*.example.com").fullmatch("https://a.b.example.com"))
    False
    """
    pieces, index, depth = [], 0, 0
    while index < len(pattern):
        character = pattern[index]
        if pattern.startswith("**", index):
            pieces.append(".*")
            index += 1
        elif character == "*":
            pieces.append("[^./]*")
        elif character == "?":
            pieces.append("[^./]")
        elif character == "[" and (end := pattern.find("]", index + 2)) > 0:
            inner = pattern[index + 1 : end]
            negated = "^" if inner[0] in "!^" else ""
            pieces.append(
                f"[{negated}{re.escape(inner[1:] if negated else inner).replace(chr(92) + '-', '-')}]"
            )
            index = end
        elif character == "{" and "}" in pattern[index:]:
            pieces.append("(?:")
            depth += 1
        elif character == "}" and depth:
            pieces.append(")")
            depth -= 1
        elif character == "," and depth:
            pieces.append("|")
        elif character == "\\" and index + 1 < len(pattern):
            index += 1
            pieces.append(re.escape(pattern[index]))
        else:
            pieces.append(re.escape(character))
        index += 1
    pieces.append(")" * depth)
    return re.compile("".join(pieces))


def with_query(url: str, values: Mapping[str, str]) -> str:
    """`url` with `values` set in its query string; other values stay."""
    head, mark, fragment = url.partition("#")
    path, _, query = head.partition("?")
    merged = dict(parse_qsl(query, keep_blank_values=True)) | dict(values)
    return f"{path}?{urlencode(sorted(merged.items()))}{mark}{fragment}"


def with_fragment(url: str, values: Mapping[str, str]) -> str:
    """`url` with `values` as its fragment, in the order of their names as Go encodes them."""
    return f"{url.partition('#')[0]}#{urlencode(sorted(values.items()))}"


def verification_link(base_url: str, token: str, kind: str, redirect_to: str) -> str:
    """The link of a mail: `{base}/auth/v1/verify?token=…&type=…&redirect_to=…`, from configured URLs only."""
    return (
        f"{base_url}/auth/v1/verify?token={quote(token, safe='')}&type={quote(kind, safe='')}"
        f"&redirect_to={quote(redirect_to, safe=':/')}"
    )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _same_origin(site: SplitResult, other: SplitResult) -> bool:
    """Ports may differ on loopback addresses: native apps listen where they can (RFC 8252 §7.3)."""
    host = other.hostname or ""
    same_port = _port(site) == _port(other) or is_loopback(host)
    return bool(host) and site.hostname == host and site.scheme == other.scheme and same_port


def _port(parts: SplitResult) -> int | None:
    return parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _split(url: str) -> SplitResult | None:
    if UNSAFE.search(url) or len(url) > 4096:
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    if SCHEME.fullmatch(parts.scheme) is None or parts.scheme in NEVER or "@" in parts.netloc:
        return None
    if parts.scheme in ("http", "https") and not parts.hostname:
        return None
    return parts
