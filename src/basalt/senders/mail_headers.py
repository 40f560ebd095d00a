"""Headers of a mail that are not its address lines: whoever sends it, they are the same."""

from typing import Final
from urllib.parse import urlsplit

from basalt.senders.delivery import Delivery

MAX_URL_CHARS: Final = 2000


def list_headers(delivery: Delivery) -> dict[str, str]:
    """One click unsubscribes where `data["unsubscribe_url"]` says so (RFC 2369, RFC 8058), and the request id.

    >>> list_headers(Delivery("k", "a@example.com", data={"unsubscribe_url": "https://example.com/u/1"}))
    {'List-Unsubscribe': '<https://example.com/u/1>', 'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click'}
    >>> list_headers(Delivery("k", "a@example.com", data={"unsubscribe_url": "javascript:1"}, request_id="r1"))
    {'X-Request-Id': 'r1'}
    """
    headers: dict[str, str] = {}
    address = delivery.data.get("unsubscribe_url")
    if isinstance(address, str) and _is_plain_url(address):
        headers["List-Unsubscribe"] = f"<{address}>"
        if address.startswith("https:"):
            headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    if delivery.request_id:
        headers["X-Request-Id"] = delivery.request_id
    return headers


def _is_plain_url(text: str) -> bool:
    """Nothing that could end the header or the angle brackets around it."""
    is_clean = text.isascii() and text.isprintable() and not set(text) & set("<> ,")
    try:
        return (
            is_clean and len(text) <= MAX_URL_CHARS and urlsplit(text).scheme in ("https", "http", "mailto")
        )
    except ValueError:
        return False
