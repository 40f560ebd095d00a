"""Ethereum accounts: addresses (EIP-55) and signatures of messages (EIP-191), by libsecp256k1.

Keccak-256 is the hash from before SHA-3 was settled; neither hashlib nor cryptography has it, pycryptodome does.
"""

import re
from typing import Final

from coincurve import PublicKey
from Crypto.Hash import keccak

from basalt.auth.errors import AuthError
from basalt.auth.web3.message import Dialect, SignedMessage

ADDRESS: Final = re.compile(r"0x[a-fA-F0-9]{40}")
CHAIN_ID: Final = re.compile(r"\+?[0-9]{1,19}")
SIGNATURE: Final = re.compile(r"0x[a-fA-F0-9]{130}")
# Negating s makes a second signature for the same message out of any first one; wallets send the lower s (EIP-2).
HALF_ORDER: Final = 0x7FFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_5D576E73_57A4501D_DFE92F46_681B20A0


def is_address(text: str) -> bool:
    """An address in one case, or in mixed case with the right checksum (EIP-55).

    >>> is_address("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
    True
    >>> is_address("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD")
    False
    """
    if ADDRESS.fullmatch(text) is None:
        return False
    digits = text[2:]
    return digits in (digits.lower(), digits.upper()) or text == with_checksum(text)


def with_checksum(address: str) -> str:
    """The address with capitals where its own hash has a digit above seven."""
    digits = address[2:].lower()
    marks = _keccak(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if mark > "7" else digit for digit, mark in zip(digits, marks, strict=False)
    )


def spellings(address: str) -> tuple[str, ...]:
    """How one address may have been stored: GoTrue keeps it as the message spelled it."""
    return address.lower(), with_checksum(address), address


def read_signature(text: str) -> bytes:
    """Raises AuthError validation_failed, and `b""` for what can be no signature."""
    if len(text.removeprefix("0x").encode()) != 130:
        raise AuthError(
            "validation_failed",
            "signature must be 65 bytes long, encoded as a 130 character-long hexadecimal string",
        )
    return bytes.fromhex(text[2:]) if SIGNATURE.fullmatch(text) else b""


def has_signed(message: SignedMessage, signature: bytes) -> bool:
    """Whether the key of the message's address made `signature`: r, s and the recovery id, 0 and 1 or 27 and 28."""
    if len(signature) != 65 or signature[64] not in (0, 1, 27, 28):
        return False
    if int.from_bytes(signature[32:64]) > HALF_ORDER:
        return False
    recoverable = signature[:64] + bytes([signature[64] % 27])
    text = message.raw.encode()
    digest = _keccak(b"\x19Ethereum Signed Message:\n%d%b" % (len(text), text))
    try:
        key = PublicKey.from_signature_and_message(recoverable, digest, hasher=None)
    except ValueError:
        return False
    recovered = "0x" + _keccak(key.format(compressed=False)[1:])[-20:].hex()
    return recovered == message.address.lower()


def _is_chain_id(text: str) -> bool:
    return CHAIN_ID.fullmatch(text) is not None and 0 < int(text) < 2**63


def _keccak(data: bytes) -> bytes:
    return keccak.new(data=data, digest_bits=256).digest()


DIALECT: Final = Dialect(
    name="siwe",
    account="Ethereum",
    is_address=is_address,
    address_problem="wallet address is not a valid Ethereum address",
    is_chain_id=_is_chain_id,
)
