"""Values made harmless for the place where they stand (html/template html.go, url.go, css.go)."""

import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote

HARMLESS: Final = "ZgotmplZ"  # Go's, so that whoever meets it finds its explanation

HTML: Final = str.maketrans(
    {"\0": "\ufffd", '"': "&#34;", "&": "&amp;", "'": "&#39;", "+": "&#43;", "<": "&lt;", ">": "&gt;"}
)
# Also what would end an attribute without quotes.
NOSPACE: Final = HTML | {ord(character): f"&#{ord(character)};" for character in "\t\n\v\f\r =`"}
SAFE_SCHEMES: Final = frozenset({"http", "https", "mailto"})
SAFE_CSS: Final = re.compile(r"[A-Za-z0-9#%.,_+ \t-]*")
UNSAFE_CSS: Final = re.compile(r"expression|mozbinding")
RESERVED: Final = "!#$&*+,/:;=?@[]"
STRAY_PERCENT: Final = re.compile(r"%(?![0-9a-fA-F]{2})")


def escape_html(text: str) -> str:
    return text.translate(HTML)


def escape_nospace(text: str) -> str:
    return text.translate(NOSPACE) if text else HARMLESS


def filter_url(text: str) -> str:
    """Only relative URLs and those of schemes that run nothing.

    >>> filter_url("JavaScript:alert(1)"), filter_url("/a:b"), filter_url("HTTPS://x")
    ('#ZgotmplZ', '/a:b', 'HTTPS://x')
    """
    scheme, colon, _ = text.partition(":")
    is_safe = not colon or "/" in scheme or scheme.lower() in SAFE_SCHEMES
    return text if is_safe else f"#{HARMLESS}"


def normalise_url(text: str) -> str:
    """A URL stays what it is; what may not stand in one is percent-encoded."""
    return quote(STRAY_PERCENT.sub("%25", text), safe=RESERVED + "%", errors="replace")


def escape_url(text: str) -> str:
    """One value of a query string."""
    return quote(text, safe="", errors="replace")


def filter_css(text: str) -> str:
    is_safe = SAFE_CSS.fullmatch(text) and "--" not in text and not UNSAFE_CSS.search(text.lower())
    return text if is_safe else HARMLESS


ESCAPERS: Final[Mapping[str, Callable[[str], str]]] = {
    "html": escape_html,
    "nospace": escape_nospace,
    "url_filter": filter_url,
    "url_normalise": normalise_url,
    "url_escape": escape_url,
    "css": filter_css,
    "nothing": lambda text: "",
}
