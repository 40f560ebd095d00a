"""Password hashes exported from Firebase: scrypt, whose key encrypts the project's signer key
(github.com/firebase/scrypt; the text form is GoTrue's, crypto/password.go)."""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

HASH: Final = re.compile(
    r"\$fbscrypt\$v=1,n=(?P<n>[0-9]{1,2}),r=(?P<r>[0-9]{1,4}),p=(?P<p>[0-9]{1,3})"
    r"(?:,ss=(?P<ss>[^,]+))?(?:,sk=(?P<sk>[^$]+))?\$(?P<salt>[^$]+)\$(?P<hash>.+)"
)
KEY_BYTES: Final = 32
# A row must not be able to take the machine down; Firebase's own n=14, r=8 needs 16 MiB.
MAX_MEMORY_BYTES: Final = 256 * 1024 * 1024
MAX_LANES: Final = 16


@dataclass(frozen=True, slots=True)
class FirebaseHash:
    """`n` is the cost itself, a power of two; `salt` has its separator at the end."""

    n: int
    r: int
    p: int
    salt: bytes
    signer_key: bytes
    digest: bytes

    @property
    def memory_bytes(self) -> int:
        return 128 * self.r * (self.n + self.p + 2)


def is_firebase_hash(stored: str) -> bool:
    return _parse(stored) is not None


def verify_firebase(password: str, stored: str) -> bool:
    """Whether `password` made the hash; never for one that cannot be read or costs too much."""
    parsed = _parse(stored)
    if parsed is None:
        return False
    key = hashlib.scrypt(
        password.encode(),
        salt=parsed.salt,
        n=parsed.n,
        r=parsed.r,
        p=parsed.p,
        dklen=KEY_BYTES,
        maxmem=2 * MAX_MEMORY_BYTES,
    )
    # The same password must give the same bytes, so the counter begins at zero; the key is used for this alone.
    encryptor = Cipher(AES(key), CTR(bytes(16))).encryptor()
    digest = encryptor.update(parsed.signer_key) + encryptor.finalize()
    return hmac.compare_digest(digest, parsed.digest)


def _parse(stored: str) -> FirebaseHash | None:
    found = HASH.fullmatch(stored)
    if found is None:
        return None
    try:
        salt, separator, signer_key, digest = (
            base64.b64decode(found[name] or "", validate=True) for name in ("salt", "ss", "sk", "hash")
        )
    except (binascii.Error, ValueError):
        return None
    parsed = FirebaseHash(
        1 << int(found["n"]), int(found["r"]), int(found["p"]), salt + separator, signer_key, digest
    )
    # Without a signer key every password would give the same, empty, digest.
    fits = bool(signer_key) and parsed.n > 1 and parsed.r > 0 and 0 < parsed.p <= MAX_LANES
    return parsed if fits and parsed.memory_bytes <= MAX_MEMORY_BYTES else None
