"""Whose address counts, behind proxies and behind those who claim to be one."""

import time

import pytest

from basalt.http import ClientAddresses, Headers, client_network

pytestmark = pytest.mark.req("P15")

PROXIES = ["10.0.0.0/8", "2001:db8:ffff::/48", "192.0.2.7"]


def find(header: str, values: list[str], *, peer: str = "10.0.0.1", proxies: list[str] | None = None) -> str:
    addresses = ClientAddresses(header, PROXIES if proxies is None else proxies)
    pairs = [(header.encode(), value.encode("latin-1")) for value in values]
    return addresses.find(peer, Headers(pairs))


@pytest.mark.parametrize(
    ("values", "client"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        (["6.6.6.6, 203.0.113.9, 10.9.9.9, 192.0.2.7"], "203.0.113.9"),
        (["6.6.6.6", "203.0.113.9", "10.9.9.9"], "203.0.113.9"),
        (["203.0.113.9:51234, 10.0.0.3:80"], "203.0.113.9"),
        (["[2001:db8::9]:443, 2001:db8:ffff::1"], "2001:db8::9"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["10.1.1.1, 10.2.2.2"], "10.1.1.1"),  # a client of the inner network
        (["6.6.6.6, unknown"], "10.0.0.1"),
        (["6.6.6.6, <script>, 10.3.3.3"], "10.3.3.3"),
        ([""], "10.0.0.1"),
        ([",,,"], "10.0.0.1"),
        ([], "10.0.0.1"),
    ],
)
def test_the_list_is_read_from_the_right_past_known_proxies(values: list[str], client: str) -> None:
    assert find("x-forwarded-for", values) == client


@pytest.mark.parametrize("peer", ["198.51.100.1", "11.0.0.1", "unknown", "2001:db8:fffe::1"])
def test_a_header_from_anybody_else_is_passed_over(peer: str) -> None:
    assert find("x-forwarded-for", ["203.0.113.9"], peer=peer) == peer
    assert find("forwarded", ["for=203.0.113.9"], peer=peer) == peer


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("for=203.0.113.9", "203.0.113.9"),
        ('For="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        ("for=6.6.6.6, for=203.0.113.9;proto=https;by=203.0.113.43, for=10.0.0.4", "203.0.113.9"),
        ('by="a,for=6.6.6.6";for=203.0.113.9', "203.0.113.9"),
        ('for="203.0.113.9:47\\011"', "203.0.113.9"),
        ("for=6.6.6.6, for=_hidden", "10.0.0.1"),
        ("for=6.6.6.6, proto=https", "10.0.0.1"),
        ('for=6.6.6.6, for="203.0.113.9', "10.0.0.1"),
    ],
)
def test_forwarded_is_read_by_its_own_grammar(value: str, client: str) -> None:
    assert find("forwarded", [value]) == client


def test_without_known_proxies_whoever_connects_is_the_only_one() -> None:
    assert find("x-forwarded-for", ["6.6.6.6, 203.0.113.9"], proxies=[]) == "203.0.113.9"
    assert find("x-real-ip", ["203.0.113.9"], proxies=[]) == "203.0.113.9"
    assert (
        ClientAddresses(None).find("198.51.100.1", Headers([(b"x-forwarded-for", b"6.6.6.6")]))
        == "198.51.100.1"
    )


@pytest.mark.parametrize(
    "value",
    [
        '"\\' * 16_000,
        'for="' * 10_000,
        'for="\\";' * 8_000,
        "a," * 30_000,
        '"' * 64_000,
        "for=1.2.3.4;" * 5_000,
    ],
    ids=["quotations", "openings", "escapes", "elements", "quotes", "parameters"],
)
def test_made_up_lists_take_no_time(value: str) -> None:
    began = time.perf_counter()
    for header in ("forwarded", "x-forwarded-for"):
        assert find(header, [value]) == "10.0.0.1" or "1.2.3.4" in value
    assert time.perf_counter() - began < 0.5


def test_the_addresses_of_one_subscriber_are_one_client() -> None:
    same = {client_network(f"2001:db8:1:2:{n:x}::1") for n in range(1000)}
    assert same == {"2001:db8:1:2::/64"}
    assert client_network("::ffff:192.0.2.1") == client_network("192.0.2.1") == "192.0.2.1"
