"""What a request with an `Idempotency-Key` is known by: the key within its caller, method and path, and everything else
that was asked (draft-ietf-httpapi-idempotency-key-header, "fingerprint")."""

import hashlib
import re
from collections.abc import Sequence

import orjson

from basalt.access import Caller
from basalt.errors import BasaltError
from basalt.http import Headers, Request

MAX_LENGTH = 255
PRINTABLE = re.compile(r"[\x20-\x7e]+")
QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')  # sf-string, RFC 8941 §3.3.3
ESCAPED = re.compile(r"\\(.)")

# Beyond the body: what makes another request of the same one.
ASKED = ("content-type", "content-encoding", "accept", "prefer", "accept-profile", "content-profile", "range")
# Where no user's token was verified, callers are told apart by all that they may be known by.
CREDENTIALS = ("authorization", "apikey", "cookie", "x-api-key")


def parse_idempotency_key(values: Sequence[str]) -> str:
    """The key in the header's values, bare or as a quoted string; both mean the same. Raises BasaltError
    idempotency_key_invalid (400).

    >>> parse_idempotency_key(["8e03978e"]), parse_idempotency_key(['"8e03978e"'])
    ('8e03978e', '8e03978e')
    """
    if len(values) != 1:
        raise _invalid("was sent more than once")
    key = values[0].strip()
    if key.startswith('"'):
        quoted = QUOTED.fullmatch(key)
        if quoted is None:
            raise _invalid("is no quoted string")
        key = ESCAPED.sub(r"\1", quoted[1])
    if not key:
        raise _invalid("is empty")
    if len(key) > MAX_LENGTH:
        raise _invalid(f"has {len(key)} characters; {MAX_LENGTH} are allowed")
    if not PRINTABLE.fullmatch(key):
        raise _invalid("holds other characters than printable ASCII")
    return key


def hash_key(key: str, request: Request, caller: Caller | None) -> bytes:
    """`caller` is None where the service does not ask for valid credentials and there are none."""
    return _digest(
        *_identity(caller, request.headers),
        request.method,
        request.prefix + request.raw_path,
        key,
    )


def hash_request(request: Request, body: bytes) -> bytes:
    """Of the query string, the body, and the headers that decide what the answer looks like."""
    asked = [value for name in ASKED for value in (name, *request.headers.get_all(name))]
    return _digest(request.query_string.decode("latin-1"), *asked, hashlib.sha256(body).hexdigest())


def _identity(caller: Caller | None, headers: Headers) -> list[str]:
    """Never the same for two users. One user is the same before and after a refresh of the token."""
    if caller is not None and caller.user_id is not None and not caller.is_key:
        return ["user", caller.role, str(caller.claims.get("iss")), caller.user_id]
    credentials = [value for name in CREDENTIALS for value in (name, *headers.get_all(name))]
    return ["other", caller.role if caller is not None else "", *credentials]


def _digest(*parts: str) -> bytes:
    return hashlib.sha256(orjson.dumps(parts)).digest()


def _invalid(problem: str) -> BasaltError:
    return BasaltError(
        "idempotency_key_invalid",
        400,
        f"The Idempotency-Key {problem}",
        hint="Send a new UUID for each thing to be done, and the same one when it is tried again",
    )
