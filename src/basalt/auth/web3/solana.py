"""Solana accounts: an address is an Ed25519 public key in base58, and signs the message itself, or, on a Ledger, the
message inside Solana's off-chain envelope."""

import base64
import binascii
import re
from typing import Final

import base58
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from basalt.auth.errors import AuthError
from basalt.auth.web3.message import Dialect, SignedMessage

ADDRESS: Final = re.compile(r"[a-zA-Z0-9]{32,44}")
CHAIN_ID: Final = re.compile(r"(?:solana:(?:main|dev|test|local)net)?")
BASE64: Final = re.compile(r"[A-Za-z0-9_-]+")


def is_address(text: str) -> bool:
    """
    >>> is_address("4Cw1koUQtqybLFem7uqhzMBznMPGARbFS4cjaYbM9RnR")
    True
    >>> is_address("0OIl" * 10)
    False
    """
    return ADDRESS.fullmatch(text) is not None and _public_key(text) is not None


def spellings(address: str) -> tuple[str, ...]:
    """Base58 has one spelling for a key."""
    return (address,)


def read_signature(text: str) -> bytes:
    """Base64 in either alphabet, padded or not. Raises AuthError validation_failed."""
    if len(text.encode()) not in (86, 88):
        message = "signature must be 64 bytes encoded as base64 with or without padding"
        raise AuthError("validation_failed", message)
    plain = text.rstrip("=").replace("+", "-").replace("/", "_")
    try:
        if BASE64.fullmatch(plain) is not None:
            return base64.urlsafe_b64decode(plain + "=" * (-len(plain) % 4))
    except binascii.Error:
        pass
    raise AuthError("validation_failed", "signature does not contain valid base64 characters")


def has_signed(message: SignedMessage, signature: bytes) -> bool:
    public_key = _public_key(message.address)
    if public_key is None or len(signature) != 64:
        return False
    text = message.raw.encode()
    candidates = (text, _off_chain(message.domain, public_key, text))
    return any(_verifies(public_key, candidate, signature) for candidate in candidates)


def _public_key(address: str) -> bytes | None:
    try:
        key = base58.b58decode(address)
    except ValueError:
        return None
    return key if len(key) == 32 else None


def _off_chain(domain: str, public_key: bytes, text: bytes) -> bytes:
    """Solana's "off-chain message signing": version 0, the application's domain, format ASCII, one signer."""
    application = domain.encode()[:32].ljust(32, b"\x00")
    length = len(text).to_bytes(2, "little")
    return b"\xffsolana offchain\x00" + application + b"\x00\x01" + public_key + length + text


def _verifies(public_key: bytes, text: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


DIALECT: Final = Dialect(
    name="siws",
    account="Solana",
    is_address=is_address,
    address_problem="wallet address is not in base58 format",
    is_chain_id=lambda text: CHAIN_ID.fullmatch(text) is not None,
)
