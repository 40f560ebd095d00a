"""Which addresses an outgoing request may reach, and the connection to the very address that was checked.

A name is resolved once and the connection goes to the address that was judged, so that a name cannot point elsewhere a
moment later; TLS still asks for the name (CVE-2026-35409).
"""

import asyncio
import select
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import httpcore2

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

# glibc waits many seconds for a name server that is silent, a thread each: they must not be asyncio's own.
RESOLVERS = 32

# IANA's registries of special addresses, here because what `ipaddress` knows of them differs with Python's patch level.
SPECIAL_IPV4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]
NO_HOST_IPV4 = [IPv4Network(network) for network in ("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4")]
GLOBAL_IPV6 = IPv6Network("2000::/3")
SPECIAL_IPV6 = [IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "3fff::/20")]

# Addresses of IPv4 inside of IPv6: a gateway or the system itself would take them out again.
NAT64 = IPv6Network("64:ff9b::/96")
IPV4_COMPATIBLE = IPv6Network("::/96")

resolved_at: ContextVar[float | None] = ContextVar("resolved_at", default=None)


class ForbiddenAddressError(Exception):
    """The request may not go there."""


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """`own` are host and port of the project's API, as they stand in a URL: those are allowed always, and no other name
    for the same place is."""

    allow_private: bool = False
    own: frozenset[tuple[str, int]] = frozenset()

    def check(self, host: str, port: int, addresses: Iterable[str]) -> None:
        """Raises ForbiddenAddressError unless every one of the addresses may be reached."""
        if (host.lower(), port) in self.own:
            return
        for address in addresses:
            if not (is_host_address(address) if self.allow_private else is_public_address(address)):
                raise ForbiddenAddressError("The address is not a public one")


def is_public_address(text: str) -> bool:
    """Whether an address belongs to one host of the public internet.

    >>> [is_public_address(a) for a in ("8.8.8.8", "127.0.0.1", "10.1.2.3", "100.64.0.1", "169.254.169.254")]
    [True, False, False, False, False]
    >>> [is_public_address(a) for a in ("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1%eth0")]
    [False, False, False, False]
    >>> [is_public_address(a) for a in ("224.0.0.1", "0.0.0.0", "255.255.255.255", "fec0::1", "::")]
    [False, False, False, False, False]
    """
    address = _unwrap(text)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in SPECIAL_IPV4)
    return address in GLOBAL_IPV6 and not any(address in network for network in SPECIAL_IPV6)


def is_host_address(text: str) -> bool:
    """Whether an address belongs to one host at all: no multicast, no broadcast, not "any".

    >>> [is_host_address(a) for a in ("127.0.0.1", "::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "240.0.0.1")]
    [True, True, False, False, False, False, False]
    """
    address = _unwrap(text)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NO_HOST_IPV4)
    return not (address.is_multicast or address.is_unspecified)


def _unwrap(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and (address in NAT64 or (address in IPV4_COMPATIBLE and int(address) > 0xFFFF)):
        inner = IPv4Address(int(address) & 0xFFFF_FFFF)
    return inner if inner is not None else address


class SystemResolver:
    """The system's resolver, in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolver")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a name. Raises OSError when there are none."""
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port)
        return list(dict.fromkeys(found))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class UnknownHostError(httpcore2.ConnectError):
    """The name has no address."""


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Resolves, checks, and connects to the first of the checked addresses that answers."""

    def __init__(self, guard: AddressGuard, resolve: Resolve) -> None:
        self._guard = guard
        self._resolve = resolve
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as exc:
            raise UnknownHostError("the name cannot be resolved") from exc
        resolved_at.set(time.monotonic())
        self._guard.check(host, port, addresses)
        failure: Exception = UnknownHostError("the name has no address")
        for address in addresses:
            try:
                stream = await self._backend.connect_tcp(
                    address,
                    port,
                    timeout=timeout,
                    local_address=local_address,
                    socket_options=socket_options,
                )
                return _PlainStream(stream)
            except httpcore2.ConnectError as exc:
                failure = exc
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        raise ForbiddenAddressError("The address is not a public one")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _PlainStream(httpcore2.AsyncNetworkStream):
    """A connection that does not stay open when its TLS handshake is given up: httpcore forgets it then, and a server
    that is silent would keep the socket for ever."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._socket = stream.get_extra_info("socket") if hasattr(select, "poll") else None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        try:
            return await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except asyncio.CancelledError:
            await asyncio.shield(self._stream.aclose())
            raise

    def get_extra_info(self, info: str) -> Any:
        # Asked of every idle connection by every request; the way through anyio costs a third of an exchange.
        if info == "is_readable" and self._socket is not None and self._socket.fileno() >= 0:
            poll = select.poll()
            poll.register(self._socket.fileno(), select.POLLIN)
            return bool(poll.poll(0))
        return self._stream.get_extra_info(info)
