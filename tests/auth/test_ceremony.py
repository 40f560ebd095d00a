"""The checks of WebAuthn by themselves: damaged and hostile bytes are refused, and raise nothing else."""

import base64
from dataclasses import replace
from typing import Any
from uuid import uuid4

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basalt.auth.passkeys.ceremony import (
    KnownKey,
    RefusedCredentialError,
    RelyingParty,
    check_assertion,
    check_registration,
    creation_options,
    new_challenge,
    parse_assertion,
    parse_registration,
    relying_party,
    request_options,
)
from basalt.config import AuthSettings
from tests.fakes.authenticator import Authenticator

pytestmark = pytest.mark.req("P6")

PARTY = RelyingParty("localhost", "localhost", ("http://localhost:3000",))
CHALLENGE = new_challenge()


def registered() -> tuple[Authenticator, dict[str, Any]]:
    authenticator = Authenticator()
    options = creation_options(
        PARTY, CHALLENGE, user_id=uuid4(), name="ada", display_name="ada", exclude=(), is_passkey=True
    )
    return authenticator, authenticator.create(options)


AUTHENTICATOR, CREDENTIAL = registered()
KEY = check_registration(PARTY, CHALLENGE, parse_registration(CREDENTIAL))
KNOWN = KnownKey(KEY.id, KEY.public_key, KEY.sign_count)
ASSERTION = AUTHENTICATOR.get(request_options(PARTY, CHALLENGE, ()))


def damaged(credential: dict[str, Any], name: str, change: Any) -> dict[str, Any]:
    text = credential["response"][name]
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    changed = base64.urlsafe_b64encode(change(data)).rstrip(b"=").decode()
    return {**credential, "response": {**credential["response"], name: changed}}


@st.composite
def changes(draw: st.DrawFn) -> Any:
    """One byte changed, a cut, or other bytes altogether."""
    kind = draw(st.sampled_from(["byte", "cut", "other"]))
    place, value = draw(st.integers(0, 10_000)), draw(st.integers(1, 255))
    other = draw(st.binary(max_size=200))

    def change(data: bytes) -> bytes:
        at = place % len(data)
        if kind == "byte":
            return data[:at] + bytes([data[at] ^ value]) + data[at + 1 :]
        return data[:at] if kind == "cut" else other

    return change


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["clientDataJSON", "authenticatorData", "signature"]), changes())
def test_a_damaged_assertion_is_refused(name: str, change: Any) -> None:
    with pytest.raises(RefusedCredentialError):
        check_assertion(PARTY, CHALLENGE, parse_assertion(damaged(ASSERTION, name, change)), KNOWN)


@settings(max_examples=300, deadline=None)
@given(changes())
def test_a_damaged_registration_raises_nothing_else_than_a_refusal(change: Any) -> None:
    """One with attestation `none` is not signed, so that some of them pass with another key or counter."""
    try:
        check_registration(
            PARTY, CHALLENGE, parse_registration(damaged(CREDENTIAL, "attestationObject", change))
        )
    except RefusedCredentialError:
        return


@pytest.mark.parametrize(
    "statement",
    [
        {"fmt": "none", "attStmt": {"sig": b"x"}},
        {"fmt": "packed", "attStmt": {}},
        {"fmt": "packed", "attStmt": {"alg": -7, "sig": b"x"}},
        {"fmt": "packed", "attStmt": {"alg": -7, "sig": b"x", "x5c": [b"no certificate"]}},
        {"fmt": "fido-u2f", "attStmt": {"sig": b"x", "x5c": [b""]}},
        {"fmt": "android-safetynet", "attStmt": {"ver": "1", "response": b"a.b.c"}},
        {"fmt": "tpm", "attStmt": {"ver": "2.0"}},
        {"fmt": "of my own", "attStmt": {}},
        {"fmt": 7, "attStmt": []},
    ],
)
def test_an_attestation_that_proves_nothing_is_refused(statement: dict[str, Any]) -> None:
    def change(data: bytes) -> bytes:
        return cbor2.dumps({**cbor2.loads(data), **statement})

    broken = damaged(CREDENTIAL, "attestationObject", change)
    with pytest.raises(RefusedCredentialError):
        check_registration(PARTY, CHALLENGE, parse_registration(broken))


def test_deep_and_huge_encodings_are_refused_quickly() -> None:
    for data in (
        b"\x81" * 100_000,
        b"\x9b" + b"\xff" * 8,
        b"\x5b" + b"\x7f" * 8,
        b"\xbb" + b"\x00\x00\x00\xff" * 2,
    ):
        broken = damaged(CREDENTIAL, "attestationObject", lambda _, data=data: data)
        with pytest.raises(RefusedCredentialError):
            check_registration(PARTY, CHALLENGE, parse_registration(broken))


@pytest.mark.parametrize(
    ("site_url", "rp_id", "origins"),
    [
        ("http://127.0.0.1:3000", "localhost", ("http://localhost:3000",)),
        ("http://[::1]", "localhost", ("http://localhost",)),
        ("http://localhost:3000/app", "localhost", ("http://localhost:3000",)),
        ("https://App.Example.com/start", "app.example.com", ("https://app.example.com",)),
        ("https://app.example.com:443/", "app.example.com", ("https://app.example.com",)),
        ("https://app.example.com:8443", "app.example.com", ("https://app.example.com:8443",)),
    ],
)
def test_the_relying_party_follows_the_site(site_url: str, rp_id: str, origins: tuple[str, ...]) -> None:
    party = relying_party(replace(AuthSettings(), site_url=site_url))
    assert (party.id, party.name, party.origins) == (rp_id, rp_id, origins)
