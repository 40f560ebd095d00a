"""Where an upload is to be continued: an absolute URL with the address that the client used.

Only here does Storage believe `Host` and `X-Forwarded-*`: the answer goes to nobody but whoever sent them. What does
not look like an address is passed over for the configured one.
"""

import re
from typing import Final
from urllib.parse import urlsplit

from basalt.http import Headers

HOST: Final = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9.])?|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
)
PORT: Final = re.compile(r"[0-9]{1,5}")
SCHEMES: Final = ("http", "https")
USUAL_PORTS: Final = ("80", "443")


def build_location(headers: Headers, public_url: str, path: str) -> str:
    """`path` is that below `public_url`, the configured URL of Storage.

    >>> forwarded = [(b"x-forwarded-host", b"a.example"), (b"x-forwarded-proto", b"https")]
    >>> build_location(Headers(forwarded), "http://127.0.0.1:54321/storage/v1", "/upload/resumable/1")
    'https://a.example/storage/v1/upload/resumable/1'
    """
    configured = urlsplit(public_url)
    host = _forwarded_host(headers) or _host(headers.get("host")) or configured.netloc
    scheme = _first(headers, "x-forwarded-proto").lower()
    if scheme not in SCHEMES:
        # A proxy that ends TLS and says nothing of it still passes on the host that people know.
        scheme = configured.scheme if host == configured.netloc else "http"
    return f"{scheme}://{host}{configured.path}{path}"


def _forwarded_host(headers: Headers) -> str | None:
    """`X-Forwarded-Host`, and `X-Forwarded-Port` in the place of its port."""
    found = HOST.fullmatch(_first(headers, "x-forwarded-host"))
    if found is None or not _is_port(found["port"] or "1"):
        return None
    port = _first(headers, "x-forwarded-port")
    if not _is_port(port):
        return found[0]
    return found["name"] if port in USUAL_PORTS else f"{found['name']}:{port}"


def _host(header: str | None) -> str | None:
    found = HOST.fullmatch(header or "")
    return found[0] if found is not None and _is_port(found["port"] or "1") else None


def _is_port(text: str) -> bool:
    """
    >>> _is_port("8443"), _is_port("0"), _is_port("65536"), _is_port("")
    (True, False, False, False)
    """
    return PORT.fullmatch(text) is not None and 0 < int(text) < 65536


def _first(headers: Headers, name: str) -> str:
    """Each proxy may add its own after a comma; the first one is what the client used."""
    return (headers.get(name) or "").partition(",")[0].strip()
