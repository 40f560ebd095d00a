"""Who may see what is for operators: `/metrics`, and the parts of `/ready`."""

import hmac
from ipaddress import ip_address

from basalt.access import bearer_token
from basalt.config import Settings
from basalt.http import Headers, Request

# A proxy in front of us connects from loopback as well; each of them adds one of these.
PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
# Nobody who scrapes sends these; a browser on this machine does, for whatever page it shows.
BROWSER_HEADERS = ("origin", "sec-fetch-site", "referer")


class Operators:
    """With a token in the settings whoever sends it; without one whoever asks from this machine, no proxy and no
    browser between."""

    def __init__(self, settings: Settings) -> None:
        self._token = settings.basalt.telemetry.metrics.token.encode()
        header = settings.basalt.client_address_header
        self._headers = (*PROXY_HEADERS, *BROWSER_HEADERS, *([header.lower()] if header else []))

    @property
    def ask_for_token(self) -> bool:
        return bool(self._token)

    def include(self, request: Request) -> bool:
        """Whether the request is one of theirs."""
        if self._token:
            return self.has_token(request.headers)
        return (
            _is_loopback(request.client_ip)
            and not any(name in request.headers for name in self._headers)
            and _names_this_machine(request.headers.get("host") or "localhost")
        )

    def has_token(self, headers: Headers) -> bool:
        given = bearer_token(headers.get("authorization")) or ""
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token)


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _names_this_machine(host: str) -> bool:
    """Not a name that somebody else's DNS has led to this machine.

    >>> _names_this_machine("127.0.0.1:54321"), _names_this_machine("[::1]:54321"), _names_this_machine("evil.example")
    (True, True, False)
    """
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.lower() == "localhost" or _is_loopback(name)
