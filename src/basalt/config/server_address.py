"""The address that REST's OpenAPI document names: the server's own, or that of the proxy before it."""

import ipaddress
import re
from dataclasses import dataclass

ANY_HOST = frozenset({"*", "*4", "!4", "*6", "!6"})
DEFAULT_PORTS = {"http": 80, "https": 443}

_CHARACTER = r"[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2}"
_PROXY_URI = re.compile(
    rf"(?P<scheme>https?)://(?P<host>\[(?P<ipv6>[0-9a-f:.]+)\]|(?:{_CHARACTER}){{1,255}})"
    rf"(?::(?P<port>0*[0-9]{{1,5}}))?(?P<path>(?:/(?:{_CHARACTER}|[:@])*)*)",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where clients reach the API. `host` may be one of PostgREST's spellings of any address (`*`, `!4`, …)."""

    host: str
    port: int
    scheme: str = "http"
    base_path: str = "/"

    @property
    def authority(self) -> str:
        """
        >>> ServerAddress("api.example", 80).authority, ServerAddress("!4", 3000).authority
        ('api.example:80', '0.0.0.0:3000')
        >>> ServerAddress("::1", 3000).authority
        '[::1]:3000'
        """
        host = "0.0.0.0" if self.host in ANY_HOST else self.host  # noqa: S104 - only written, never bound
        return f"[{host}]:{self.port}" if ":" in host and not host.startswith("[") else f"{host}:{self.port}"


def parse_proxy_uri(text: str) -> ServerAddress:
    """What PostgREST takes as `openapi-server-proxy-uri`: an absolute http or https URI (RFC 3986) with a host and a
    port from 1 to 65535 if any, without user, query or fragment (`Config/Proxy.hs`). Raises ValueError.

    >>> parse_proxy_uri("HTTPS://api.example")
    ServerAddress(host='api.example', port=443, scheme='https', base_path='/')
    """
    found = _PROXY_URI.fullmatch(text)
    if found is not None and (found["ipv6"] is None or _is_ipv6(found["ipv6"])):
        scheme = found["scheme"].lower()
        port = int(found["port"]) if found["port"] else DEFAULT_PORTS[scheme]
        if 0 < port < 65536:
            return ServerAddress(found["host"], port, scheme, found["path"] or "/")
    raise ValueError(f"{text!r} is not an address such as https://example.com:8443/base")


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
