"""Who is at the other end: the address of a connection, or the one that a trusted proxy tells of.

A proxy adds the address that it sees at the right of `X-Forwarded-For` or `Forwarded` (RFC 7239); what stands further
left came with the request and may be made up. So the list is read from the right, past the proxies that are known, to
the first address that is none of them.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from basalt.http.headers import Headers

IPV6_CLIENT_BITS = 64  # what one subscriber is given at least (RFC 6177): its addresses are no many clients
FORWARDED_FOR = re.compile(r'(?:^|;)[ \t]*for[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^;,"]*)', re.IGNORECASE)
# A quotation that does not end takes the rest: never looked through twice.
ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*(?:"|\\?$))+')
MAX_HOPS = 32


class ClientAddresses:
    """`header` is the one in which a proxy names the client, in lower case; None believes nobody. `trusted` are the
    proxies' addresses and networks; without any, whoever connects is taken for the only proxy."""

    def __init__(self, header: str | None, trusted: Iterable[str] = ()) -> None:
        self._header = header
        self._trusted = tuple(ip_network(network) for network in trusted)
        self._is_proxy = lru_cache(maxsize=1024)(self._is_trusted)

    def find(self, peer: str, headers: Headers) -> str:
        """The client's address; `peer` is the other end of the connection.

        >>> proxied = ClientAddresses("x-forwarded-for", ["10.0.0.0/8"])
        >>> header = Headers([(b"x-forwarded-for", b"6.6.6.6, 203.0.113.9, 10.0.0.7")])
        >>> proxied.find("10.0.0.1", header)
        '203.0.113.9'
        >>> proxied.find("198.51.100.1", header)
        '198.51.100.1'
        """
        if self._header is None or self._header not in headers:
            return peer
        if self._trusted and not self._is_proxy(peer):
            return peer
        client = peer
        for hop in reversed(_hops(self._header, headers)[-MAX_HOPS:]):
            address = parse_address(hop)
            if address is None:
                break
            client = address
            if not self._is_proxy(client):
                break
        return client

    def _is_trusted(self, text: str) -> bool:
        address = parse_address(text)
        if address is None:
            return False
        parsed = ip_address(address)
        return any(parsed in network for network in self._trusted)


@lru_cache(maxsize=4096)
def parse_address(text: str) -> str | None:
    """An address as proxies write it, with or without a port, in its shortest form; None for anything else.

    >>> [parse_address(t) for t in ("203.0.113.9:4711", "[2001:DB8::1]:443", "::ffff:192.0.2.1", "fe80::1%eth0")]
    ['203.0.113.9', '2001:db8::1', '192.0.2.1', 'fe80::1']
    >>> [parse_address(t) for t in ("unknown", "_hidden", "", "1.2.3", "10.0.0.1, 10.0.0.2")]
    [None, None, None, None, None]
    """
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address: IPv4Address | IPv6Address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


@lru_cache(maxsize=4096)
def client_network(client_ip: str) -> str:
    """What counts as one client: an address of IPv4, a /64 of IPv6.

    >>> [client_network(a) for a in ("203.0.113.9", "2001:db8:1:2:3:4:5:6", "unknown")]
    ['203.0.113.9', '2001:db8:1:2::/64', 'unknown']
    """
    address = parse_address(client_ip)
    if address is None:
        return client_ip
    if ":" not in address:
        return address
    return str(IPv6Network((address, IPV6_CLIENT_BITS), strict=False))


@lru_cache(maxsize=4096)
def is_loopback(client_ip: str) -> bool:
    address = parse_address(client_ip)
    return address is not None and ip_address(address).is_loopback


def _hops(header: str, headers: Headers) -> Sequence[str]:
    """What the proxies wrote, in their order; several lines are one list (RFC 9110 §5.3)."""
    line = ",".join(headers.get_all(header))
    if header != "forwarded":
        return line.split(",")
    return [_forwarded_for(element) for element in ELEMENT.findall(line)]


def _forwarded_for(element: str) -> str:
    """
    >>> _forwarded_for('proto=https; For="[2001:db8::17]:4711";by=_x')
    '[2001:db8::17]:4711'
    """
    found = FORWARDED_FOR.search(element)
    if found is None:
        return ""
    value = found[1].strip()
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
