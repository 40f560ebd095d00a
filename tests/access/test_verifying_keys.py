"""Which keys a configured secret gives, and what each may be used for."""

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from basalt.access.verifying_keys import VerifyingKey, load_verifying_keys, parse_verifying_keys
from basalt.config import ConfigError, RestSettings

pytestmark = pytest.mark.req("P5")

SECRET = "a secret of more than 32 characters"
PRIVATE: dict[str, Any] = {
    "RSA": rsa.generate_private_key(65537, 2048),
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "Ed448": ed448.Ed448PrivateKey.generate(),
}
KINDS = {"RSA": RSAAlgorithm, "Ed25519": OKPAlgorithm, "Ed448": OKPAlgorithm}
OCT = {"kty": "oct", "k": "A" * 86}  # 64 bytes
ALL = [
    *("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
]


def jwk_of(name: str, *, public: bool = True, **more: object) -> dict[str, Any]:
    key = PRIVATE[name].public_key() if public else PRIVATE[name]
    return {**KINDS.get(name, ECAlgorithm).to_jwk(key, as_dict=True), **more}


def parse(*jwks: object) -> tuple[VerifyingKey, ...]:
    return parse_verifying_keys(json.dumps({"keys": jwks}).encode())


def accepts(key: VerifyingKey, algorithm: str, token: str) -> bool:
    signed, _, signature = token.rpartition(".")
    return key.verifies(algorithm, signed.encode(), jwt.utils.base64url_decode(signature))


@pytest.mark.parametrize(
    ("jwk", "allowed"),
    [
        (OCT, {"HS256", "HS384", "HS512"}),
        ({**OCT, "alg": "HS384"}, {"HS384"}),
        (jwk_of("RSA"), {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        (jwk_of("RSA", alg="RS256", use="sig"), {"RS256"}),
        (jwk_of("P-256"), {"ES256"}),
        (jwk_of("P-384"), {"ES384"}),
        (jwk_of("P-521"), {"ES512"}),
        (jwk_of("Ed25519"), {"EdDSA"}),
        (jwk_of("Ed448"), {"EdDSA"}),
    ],
)
def test_a_key_allows_what_its_type_and_its_alg_allow(jwk: dict[str, Any], allowed: set[str]) -> None:
    (key,) = parse_verifying_keys(json.dumps(jwk).encode())
    assert {name for name in ALL if key.suits(name, None)} == allowed


@pytest.mark.parametrize("name", PRIVATE)
@pytest.mark.parametrize("public", [True, False])
def test_a_key_verifies_what_it_signed_and_nothing_else(name: str, public: bool) -> None:
    (key,) = parse(jwk_of(name, public=public))
    for algorithm in key.algorithms:
        token = jwt.encode({"a": 1}, PRIVATE[name], algorithm=algorithm)
        assert accepts(key, algorithm, token)
        head, _, signature = token.rpartition(".")
        assert not accepts(key, algorithm, f"{head}x.{signature}")
        assert not accepts(key, algorithm, f"{head}.{'A' * len(signature)}")
        assert not accepts(key, algorithm, f"{head}.AAAA")


def test_a_text_is_a_secret_for_hs256_alone() -> None:
    (key,) = parse_verifying_keys(SECRET.encode())
    assert {name for name in ALL if key.suits(name, None)} == {"HS256"}
    assert accepts(key, "HS256", jwt.encode({}, SECRET, algorithm="HS256"))
    assert not accepts(key, "HS256", jwt.encode({}, SECRET + "!", algorithm="HS256"))
    assert SECRET not in repr(key)


def test_a_json_text_without_a_key_in_it_is_a_secret_too() -> None:
    (key,) = parse_verifying_keys(b'{"just": "a text that somebody found long enough"}')
    assert key.algorithms == {"HS256"}


def test_a_token_that_names_a_key_needs_that_key() -> None:
    named, unnamed = parse(jwk_of("P-256", kid="one"), jwk_of("P-256"))
    assert [named.suits("ES256", kid) for kid in (None, "one", "two")] == [True, True, False]
    assert [unnamed.suits("ES256", kid) for kid in (None, "one")] == [True, False]


def test_keys_for_other_ends_are_passed_over() -> None:
    unknown = [
        {"kty": "new"},
        jwk_of("RSA", use="enc"),
        jwk_of("RSA", alg="RSA-OAEP"),
        jwk_of("RSA", alg="HS256"),
    ]
    assert [key.kid for key in parse(*unknown, jwk_of("P-256", kid="good"))] == ["good"]
    with pytest.raises(ValueError, match="no key in it can verify"):
        parse(*unknown)
    with pytest.raises(ValueError, match="no key in it can verify"):
        parse()


@pytest.mark.parametrize(
    "jwk",
    [
        1,
        {"kty": "RSA", "n": "!!", "e": "AQAB"},
        {"kty": "RSA"},
        {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
        {"kty": "EC", "crv": "P-256"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
        {"kty": "oct"},
        {"kty": "oct", "k": "c2hvcnQ"},
        {**OCT, "kid": 7},
    ],
)
def test_a_key_that_cannot_be_read_is_a_mistake_and_never_a_secret(jwk: object) -> None:
    with pytest.raises(ValueError, match="JWK"):
        parse(jwk)


def test_settings_without_a_secret_have_no_keys_and_bad_ones_are_named() -> None:
    assert load_verifying_keys(RestSettings()) is None
    bad = json.dumps({"kty": "RSA", "n": "", "e": "AQAB"})
    with pytest.raises(ConfigError, match="jwt_secret"):
        load_verifying_keys(RestSettings(jwt_secret=bad))
    with pytest.raises(ConfigError, match="32 characters"):
        load_verifying_keys(RestSettings(jwt_secret="short"))
