"""The project's own API as a receiver: it is always allowed, and the names that Supabase's local stack gives to it are
understood here, so that webhooks in migrations find it.

What comes from this machine is trusted there: the console opens to its browsers, and a proxy says who is calling. A
request that SQL asked for is nobody on this machine, and says so.
"""

import re
from dataclasses import dataclass, replace

from basalt.config import Settings
from basalt.http import AddressGuard, Target, WireError, parse_target

# Docker's name for the machine itself, and the port of the API that every project of the Supabase CLI has by default.
THIS_MACHINE = "host.docker.internal"
SUPABASE_API_PORT = 54321

# Names of the API's container in the networks of the Supabase CLI and of self-hosted Supabase.
GATEWAY_NAMES = re.compile(r"kong|api\.supabase\.internal|supabase[_-]kong([_-][\w.-]+)?")
GATEWAY_PORT = 8000

ANY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104  compared with, not listened on
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")

# RFC 7239 §6.3: an identifier that is no address.
FORWARDED = (b"Forwarded", b"for=_basalt")
FORWARDING_NAMES = ("forwarded", "x-forwarded-", "x-real-ip")

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class OwnApi:
    """`host` and `port` are where the gateway listens; `public` are those of the URL that clients have."""

    host: str
    port: int
    public: tuple[str, int] | None = None
    client_address_header: str | None = None

    def locate(self, target: Target) -> Target:
        """Where a request for `target` really goes.

        >>> api = OwnApi("127.0.0.1", 7001)
        >>> api.locate(parse_target("http://kong:8000/functions/v1/hello")).origin
        'http://127.0.0.1:7001'
        >>> api.locate(parse_target("http://host.docker.internal:3000/hook")).origin
        'http://127.0.0.1:3000'
        >>> api.locate(parse_target("http://kong:8001/")).origin
        'http://kong:8001'
        """
        if target.scheme != "http":
            return target
        if target.host == THIS_MACHINE:
            if target.port in (SUPABASE_API_PORT, self.port):
                return replace(target, host=self.host, port=self.port)
            return replace(target, host=LOOPBACK_NAMES[0])
        if target.port == GATEWAY_PORT and GATEWAY_NAMES.fullmatch(target.host):
            return replace(target, host=self.host, port=self.port)
        return target

    def complete(self, target: Target, headers: Headers) -> Headers:
        """The headers of a request; where it may reach the API, under whatever name, it comes from behind a proxy."""
        if target.port != self.port and (target.host, target.port) != self.public:
            return headers
        kept = (header for header in headers if not self._tells_the_client(header[0].decode().lower()))
        return (*kept, FORWARDED)

    def _tells_the_client(self, name: str) -> bool:
        return name.startswith(FORWARDING_NAMES) or name == (self.client_address_header or "").lower()

    def guard(self, *, allow_private: bool) -> AddressGuard:
        names = {(name, self.port) for name in (*LOOPBACK_NAMES, self.host)}
        return AddressGuard(allow_private, frozenset(names | ({self.public} if self.public else set())))


def find_own_api(settings: Settings) -> OwnApi:
    host = LOOPBACK_NAMES[0] if settings.api.host in ANY_ADDRESS else settings.api.host
    try:
        target = parse_target(settings.api_url)
        public = (target.host, target.port)
    except WireError:
        public = None
    return OwnApi(host, settings.api.port, public, settings.basalt.client_address_header)
