"""Password hashing off the event loop.

New hashes are bcrypt at GoTrue's cost. Verifying also takes argon2, Firebase's scrypt and whatever PostgreSQL's
`crypt(…, gen_salt('bf'))` makes, so that seeded and imported users sign in; at the first sign-in some of them are
made anew. As many hashes run at once as there are threads; the rest wait in line.
"""

import asyncio
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import argon2
import bcrypt

from basalt.auth.errors import AuthError
from basalt.auth.firebase_scrypt import is_firebase_hash, verify_firebase

DEFAULT_ROUNDS: Final = 10
MAX_WAITING: Final = 256  # some ten seconds of hashing on two cores; beyond that an answer comes too late
MAX_PASSWORD_BYTES: Final = 72  # bcrypt reads no further
LEAST_ARGON2_KIB: Final = 19 * 1024 * 2  # memory times passes, OWASP's minimum for argon2id

# Version 19 only, without key id and data, as GoTrue takes them.
ARGON2: Final = re.compile(
    r"\$argon2id?\$v=19\$m=[0-9]{1,7},t=[0-9]{1,2},p=[0-9]{1,2}\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+"
)
BCRYPT: Final = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")

# Cost limits of stored hashes (GoTrue crypto/password.go): a row must not be able to take the machine
# down.
MAX_BCRYPT_ROUNDS: Final = 15
MAX_ARGON2_MEMORY_KIB: Final = 1024 * 1024
MAX_ARGON2_TIME: Final = 20
MAX_ARGON2_LANES: Final = 16


Parameter = TypeVar("Parameter")
Outcome = TypeVar("Outcome")


class PasswordHasher:
    """Hashes and verifies in its own threads; bcrypt and argon2 release the interpreter lock while they
    work."""

    def __init__(self, *, rounds: int = DEFAULT_ROUNDS, threads: int | None = None) -> None:
        self._rounds = rounds
        self._waiting = 0
        self._threads = ThreadPoolExecutor(threads or os.cpu_count() or 2, thread_name_prefix="auth-password")
        self._nobody = bcrypt.hashpw(os.urandom(16).hex().encode(), bcrypt.gensalt(rounds)).decode()

    async def hash(self, password: str) -> str:
        """A bcrypt hash. The password must have passed `PasswordRules.check`."""
        return await self._run(_hash_bcrypt, password, self._rounds)

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether `password` made `stored`. Without a stored hash the answer is no, after as long a time."""
        if not stored:
            await self._run(_verify, password, self._nobody)
            return False
        return await self._run(_verify, password, stored)

    def is_outdated(self, password: str, stored: str) -> bool:
        """Whether a hash that was just verified is to be made anew: another kind or another cost than ours, so that
        every account costs the same. GoTrue means to do so for bcrypt (user.go Authenticate); argon2 stays unless it
        is too cheap, and so does what bcrypt could not hold."""
        if len(password.encode()) > MAX_PASSWORD_BYTES:
            return False
        if stored.startswith("$argon2"):
            cost = argon2.extract_parameters(stored)
            return cost.memory_cost * cost.time_cost < LEAST_ARGON2_KIB
        found = BCRYPT.fullmatch(stored)
        return found is None or int(found[1]) != self._rounds

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(
        self, work: Callable[[str, Parameter], Outcome], password: str, with_: Parameter
    ) -> Outcome:
        if self._waiting >= MAX_WAITING:
            raise AuthError("over_request_rate_limit", headers=[("Retry-After", "1")])
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, password, with_)
        finally:
            self._waiting -= 1


def is_known_hash(stored: str) -> bool:
    """Whether an imported hash is one that `PasswordHasher.verify` can check."""
    if stored.startswith("$argon2"):
        return _argon2_within_limits(stored)
    if stored.startswith("$fbscrypt"):
        return is_firebase_hash(stored)
    return _bcrypt_within_limits(stored)


def _hash_bcrypt(password: str, rounds: int) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds)).decode()


def _verify(password: str, stored: str) -> bool:
    if stored.startswith("$argon2"):
        return _argon2_within_limits(stored) and _verify_argon2(password, stored)
    if stored.startswith("$fbscrypt"):
        return verify_firebase(password, stored)
    if not _bcrypt_within_limits(stored):
        return False
    return bcrypt.checkpw(password.encode()[:MAX_PASSWORD_BYTES], stored.encode())


def _verify_argon2(password: str, stored: str) -> bool:
    try:
        return argon2.PasswordHasher().verify(stored, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def _bcrypt_within_limits(stored: str) -> bool:
    found = BCRYPT.fullmatch(stored)
    return found is not None and 4 <= int(found[1]) <= MAX_BCRYPT_ROUNDS


def _argon2_within_limits(stored: str) -> bool:
    if ARGON2.fullmatch(stored) is None:
        return False
    try:
        cost = argon2.extract_parameters(stored)
    except (argon2.exceptions.InvalidHashError, ValueError):
        return False
    return (
        cost.memory_cost <= MAX_ARGON2_MEMORY_KIB
        and cost.time_cost <= MAX_ARGON2_TIME
        and cost.parallelism <= MAX_ARGON2_LANES
    )
