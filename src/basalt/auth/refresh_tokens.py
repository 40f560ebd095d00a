"""Refresh tokens: how they look, how they are stored, and how each follows from the one before.

Only a hash of a token is stored. A client that comes again with a used token may be owed the present one, so tokens
after the first are not drawn by chance but derived from the one before under a key of the project: whoever shows a
token lets us compute what followed it, and whoever reads the table can compute nothing. Tokens that GoTrue issued,
twelve characters and stored as they are, are taken as well.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator
from itertools import islice
from typing import Final

TOKEN: Final = re.compile(r"[a-z0-9]{12}|[a-f0-9]{40}")
TOKEN_BYTES: Final = 20  # 160 bits are 40 characters
GOTRUE_LENGTH: Final = 12


def new_refresh_token() -> str:
    """
    >>> len(new_refresh_token())
    40
    """
    return secrets.token_hex(TOKEN_BYTES)


def successors(token: str, key: bytes, count: int) -> list[str]:
    """The tokens that follow, the next one first.

    >>> successors("a" * 40, b"key", 2)[1] == successors(successors("a" * 40, b"key", 1)[0], b"key", 1)[0]
    True
    """
    return list(islice(_followers(token, key), count))


def stored_form(token: str) -> str:
    """What the table holds of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def stored_forms(token: str) -> list[str]:
    """In which forms the table may hold a token that was presented; the stored form itself is never a token."""
    return [stored_form(token), token] if len(token) == GOTRUE_LENGTH else [stored_form(token)]


def is_token(text: str) -> bool:
    return TOKEN.fullmatch(text) is not None


def _followers(token: str, key: bytes) -> Iterator[str]:
    while True:
        token = hmac.digest(key, token.encode(), "sha256")[:TOKEN_BYTES].hex()
        yield token
