"""Encrypted assertions (XML Encryption 1.1): a key for this one message under our RSA key, the assertion under that.

RSA-OAEP and AES-GCM by cryptography. RSA with PKCS#1 v1.5 is refused, for it tells too much to who tries many
(Bleichenbacher). AES-CBC protects nothing against changes, so it is taken only out of an answer whose signature has
been verified.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from lxml import etree

from basalt.auth.sso.xml import DS, XENC, XENC11, SamlError, children, only_child, text_of

RSA_OAEP: Final = frozenset((f"{XENC}rsa-oaep-mgf1p", f"{XENC11}rsa-oaep"))
DIGESTS: Final[Mapping[str, Callable[[], hashes.HashAlgorithm]]] = {
    f"{DS}sha1": hashes.SHA1,  # the default; OAEP does not need what SHA-1 has lost
    f"{XENC}sha256": hashes.SHA256,
    "http://www.w3.org/2001/04/xmldsig-more#sha384": hashes.SHA384,
    f"{XENC}sha512": hashes.SHA512,
}
MASKS: Final[Mapping[str, Callable[[], hashes.HashAlgorithm]]] = {
    f"{XENC11}mgf1sha1": hashes.SHA1,
    f"{XENC11}mgf1sha256": hashes.SHA256,
    f"{XENC11}mgf1sha384": hashes.SHA384,
    f"{XENC11}mgf1sha512": hashes.SHA512,
}
GCM_KEY_BYTES: Final = {f"{XENC11}aes128-gcm": 16, f"{XENC11}aes192-gcm": 24, f"{XENC11}aes256-gcm": 32}
CBC_KEY_BYTES: Final = {f"{XENC}aes128-cbc": 16, f"{XENC}aes192-cbc": 24, f"{XENC}aes256-cbc": 32}
FAILED: Final = "it cannot be decrypted"


def decrypt_assertion(
    encrypted: etree._Element, keys: Sequence[RSAPrivateKey], *, is_authentic: bool
) -> bytes:
    """The XML inside an EncryptedAssertion, by the first key that fits. Raises SamlError."""
    data = only_child(encrypted, XENC, "EncryptedData")
    holders = list(encrypted.iter(f"{{{XENC}}}EncryptedKey"))
    if len(holders) != 1:
        raise SamlError(f"EncryptedAssertion has {len(holders)} elements EncryptedKey")
    method = _algorithm(data)
    ciphertext = _cipher_value(data)
    content_key = _unwrap(holders[0], keys)
    if method in GCM_KEY_BYTES:
        return _open_gcm(content_key, ciphertext, GCM_KEY_BYTES[method])
    if method in CBC_KEY_BYTES and is_authentic:
        return _open_cbc(content_key, ciphertext, CBC_KEY_BYTES[method])
    raise SamlError("its encryption is not accepted: use AES-GCM, or AES-CBC in a signed response")


def _unwrap(holder: etree._Element, keys: Sequence[RSAPrivateKey]) -> bytes:
    if _algorithm(holder) not in RSA_OAEP:
        raise SamlError("its key is not encrypted by RSA-OAEP")
    method = only_child(holder, XENC, "EncryptionMethod")
    digest = _choice(method, DS, "DigestMethod", DIGESTS)
    mask = _choice(method, XENC11, "MGF", MASKS)
    wrapped = _cipher_value(holder)
    for key in keys:
        try:
            return key.decrypt(wrapped, OAEP(mgf=MGF1(mask), algorithm=digest, label=None))
        except ValueError:
            continue
    raise SamlError(FAILED)


def _open_gcm(key: bytes, ciphertext: bytes, key_bytes: int) -> bytes:
    try:
        if len(key) == key_bytes:
            return AESGCM(key).decrypt(ciphertext[:12], ciphertext[12:], None)
    except (InvalidTag, ValueError):
        pass
    raise SamlError(FAILED)


def _open_cbc(key: bytes, ciphertext: bytes, key_bytes: int) -> bytes:
    """The last byte counts the padding, whatever the rest of it is (XML Encryption §5.2)."""
    blocks = ciphertext[16:]
    if len(key) != key_bytes or not blocks or len(blocks) % 16:
        raise SamlError(FAILED)
    decryptor = Cipher(AES(key), CBC(ciphertext[:16])).decryptor()
    padded = decryptor.update(blocks) + decryptor.finalize()
    if not 1 <= padded[-1] <= 16:
        raise SamlError(FAILED)
    return padded[: -padded[-1]]


def _algorithm(element: etree._Element) -> str:
    return str(only_child(element, XENC, "EncryptionMethod").get("Algorithm", ""))


def _choice(
    method: etree._Element,
    namespace: str,
    name: str,
    known: Mapping[str, Callable[[], hashes.HashAlgorithm]],
) -> hashes.HashAlgorithm:
    """A named algorithm, SHA-1 when none is named."""
    named = children(method, namespace, name)
    if not named:
        return hashes.SHA1()  # noqa: S303
    made = known.get(named[0].get("Algorithm", ""))
    if made is None or len(named) > 1:
        raise SamlError("its key is encrypted with an algorithm that is not accepted")
    return made()


def _cipher_value(element: etree._Element) -> bytes:
    text = text_of(only_child(only_child(element, XENC, "CipherData"), XENC, "CipherValue"))
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as exc:
        raise SamlError(FAILED) from exc
