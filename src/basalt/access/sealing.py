"""Secrets at rest: sealed by AES-256-GCM under a key of the project that the database never sees.

The key is a line of `.basalt/secrets.key`, made when it is first needed, or the setting `basalt.secrets.key` where
several nodes share a database. There may be several: the first one seals, the others open what they sealed before a
rotation.
"""

import base64
import binascii
import contextlib
import hashlib
import os
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from basalt.errors import BasaltError

KEY_FILE: Final = "secrets.key"
KEY_BYTES: Final = 32
VERSION: Final = b"\x01"
KEY_ID_BYTES: Final = 8
NONCE_BYTES: Final = 12
HEADER_BYTES: Final = len(VERSION) + KEY_ID_BYTES


class SealingError(BasaltError):
    """A secret that cannot be opened, or a key that cannot be used. No value and no key stands in the message."""


class Sealer:
    """What is sealed is version, key id, nonce and ciphertext; it belongs to its name and opens under no other one.

    >>> sealer = Sealer([bytes(32)])
    >>> sealer.unseal("A", sealer.seal("A", "value"))
    'value'
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._current = _key_id(keys[0])

    def seal(self, name: str, value: str) -> bytes:
        header = VERSION + self._current
        nonce = secrets.token_bytes(NONCE_BYTES)
        cipher = self._ciphers[self._current]
        return header + nonce + cipher.encrypt(nonce, value.encode(), _associated(header, name))

    def unseal(self, name: str, sealed: bytes) -> str:
        """Raises SealingError for what another key sealed, and for what is damaged or belongs to another name."""
        header, rest = sealed[:HEADER_BYTES], sealed[HEADER_BYTES:]
        if header[:1] != VERSION:
            raise SealingError(
                "secrets_damaged", 500, f"Secret {name} is in a form that this version does not know"
            )
        cipher = self._ciphers.get(header[1:])
        if cipher is None:
            raise SealingError(
                "secrets_key_unknown",
                500,
                f"Secret {name} was sealed with key {header[1:].hex()}, which this node does not have",
                hint="Set BASALT_SECRETS_KEY to the text of .basalt/secrets.key of the node that sealed it",
            )
        try:
            content = cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], _associated(header, name))
        except InvalidTag as exc:
            raise SealingError("secrets_damaged", 500, f"Secret {name} was changed in the database") from exc
        return content.decode()

    def is_current(self, sealed: bytes) -> bool:
        """Whether the key that seals now has sealed this."""
        return sealed[:HEADER_BYTES] == VERSION + self._current


def load_sealer(state_dir: Path, configured: str | None) -> Sealer:
    """The project's sealer: by the configured keys, else by those of its file, made on first use. Raises
    SealingError."""
    if configured is not None:
        return Sealer(_parse_keys(configured, "basalt.secrets.key"))
    path = state_dir / KEY_FILE
    try:
        if not path.exists():
            _create(path, [_encode(secrets.token_bytes(KEY_BYTES))])
        text = path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as exc:
        raise SealingError("secrets_key_invalid", 500, f"The key in {path} cannot be used: {exc}") from exc
    return Sealer(_parse_keys(text, str(path)))


def add_sealing_key(state_dir: Path) -> None:
    """A new key seals from now on; the older ones still open."""
    path = state_dir / KEY_FILE
    kept = path.read_text("ascii").split() if path.exists() else []
    temporary = _write_private(path, [_encode(secrets.token_bytes(KEY_BYTES)), *kept])
    temporary.replace(path)


def _parse_keys(text: str, place: str) -> list[bytes]:
    """Keys in Base64, parted by blanks or commas."""
    keys = []
    for part in text.replace(",", " ").split():
        try:
            key = base64.b64decode(part, validate=True)
        except binascii.Error:
            key = b""
        if len(key) != KEY_BYTES:
            raise SealingError("secrets_key_invalid", 500, f"{place} is not {KEY_BYTES} bytes in Base64")
        keys.append(key)
    if not keys:
        raise SealingError("secrets_key_invalid", 500, f"{place} holds no key")
    return keys


def _encode(key: bytes) -> str:
    return base64.b64encode(key).decode("ascii")


def _key_id(key: bytes) -> bytes:
    """Tells keys apart and nothing about them."""
    return hashlib.sha256(b"basalt secrets key id " + key).digest()[:KEY_ID_BYTES]


def _associated(header: bytes, name: str) -> bytes:
    return b"basalt secret " + header + name.encode()


def _create(path: Path, lines: Sequence[str]) -> None:
    """Of two processes that come at once the first one makes the file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = _write_private(path, lines)
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(temporary)
    temporary.unlink()


def _write_private(path: Path, lines: Sequence[str]) -> Path:
    """A complete file beside `path` that nobody else can read."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp gives 0600
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write("".join(f"{line}\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())
    return Path(name)
