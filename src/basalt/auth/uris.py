"""URIs that others wrote, taken apart: what Go's `url.ParseRequestURI` takes, since GoTrue asks that."""

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

# An absolute URI or a path, without spaces and broken escapes.
REQUEST_URI: Final = re.compile(r"(?:[a-zA-Z][a-zA-Z0-9+.-]*:|/)(?:[^\x00-\x20\x7f%]|%[0-9a-fA-F]{2})*")


def parse_uri(text: str) -> SplitResult | None:
    """
    >>> parse_uri("https://example.com/a?b#c").netloc
    'example.com'
    >>> parse_uri("***") is parse_uri("https://exa mple.com") is parse_uri("https://a:b") is None
    True
    """
    if REQUEST_URI.fullmatch(text) is None:
        return None
    try:
        uri = urlsplit(text)
        _ = uri.port
    except ValueError:
        return None
    return uri
