"""SCRAM-SHA-256 verifiers as PostgreSQL stores them (RFC 5803, `scram-common.c`), so that a password never
travels to the server in clear and two runs of the bootstrap can see that nothing has to change."""

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode

ITERATIONS = 4096  # what PostgreSQL uses; some drivers (JDBC) refuse fewer


def build_verifier(password: str, *, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """`SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey` for an ASCII password."""
    salt = salt or secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    parts = [b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${iterations}:{parts[0]}${parts[1]}:{parts[2]}"


def is_verifier_of(verifier: str | None, password: str) -> bool:
    """Whether a stored verifier was made from this password."""
    if verifier is None or not verifier.startswith("SCRAM-SHA-256$"):
        return False
    iterations, _, salt = verifier.split("$")[1].partition(":")
    expected = build_verifier(password, salt=b64decode(salt), iterations=int(iterations))
    return hmac.compare_digest(expected, verifier)
