"""What the time of an answer tells of an account: nothing that a generous test could see.

Known and unknown addresses are asked for in turn, and their times compared by rank (Mann and Whitney's U over the
number of pairs: the probability that a time of one kind is longer than one of the other; a half when they are alike).
Each comparison is also made with the protection taken away, and must then tell the two apart.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import bcrypt
import pytest

from tests.auth.conftest import PASSWORD, Answer, AuthClient, StartAuth

pytestmark = pytest.mark.req("P6")

GRANT = "/token?grant_type=password"
ROUNDS = 8
# How far from a half still counts as alike, and from where on it is a leak. Measured on a busy machine: 0.01 to 0.15
# with the protection, 0.48 to 0.5 without.
ALIKE = 0.3
LEAKY = 0.4


def likelihood_of_longer(first: list[float], second: list[float]) -> float:
    """U / (n·m), ties counted half."""
    wins = sum((a > b) + (a == b) / 2 for a in first for b in second)
    return wins / (len(first) * len(second))


def test_the_statistic_is_the_one_of_the_books() -> None:
    assert likelihood_of_longer([1, 2, 3], [1, 2, 3]) == 0.5
    assert likelihood_of_longer([4, 5], [1, 2, 3]) == 1.0
    assert likelihood_of_longer([1, 3], [2, 4]) == 0.25


async def leak(
    ask: Callable[[str], Awaitable[Answer]], first: list[str], second: list[str], status: int
) -> float:
    """How far the two kinds of addresses are from alike, between 0 and a half."""
    times: dict[int, list[float]] = {0: [], 1: []}
    turns = [(kind, email) for pair in zip(first, second, strict=True) for kind, email in enumerate(pair)]
    for index in range(0, len(turns), 2):  # in pairs, so that a slow moment meets both
        for kind, email in random.sample(turns[index : index + 2], 2):
            started = time.perf_counter()
            answer = await ask(email)
            times[kind].append(time.perf_counter() - started)
            assert answer.status == status, answer.body
    return abs(likelihood_of_longer(times[0], times[1]) - 0.5)


def use_real_costs(auth: AuthClient) -> str:
    """A hash that takes milliseconds, for users and for nobody. Returns that of a user."""
    hasher = auth.service._passwords
    hasher._rounds = ROUNDS
    hasher._nobody = bcrypt.hashpw(b"nobody", bcrypt.gensalt(ROUNDS)).decode()
    return bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(ROUNDS)).decode()


def insert_users(auth: AuthClient, count: int, password_hash: str | None, prefix: str) -> list[str]:
    emails = [f"{prefix}{number}@example.com" for number in range(count)]
    for email in emails:
        auth.rows(
            """insert into auth.users (id, instance_id, aud, role, email, encrypted_password, email_confirmed_at,
                created_at, updated_at)
            values (gen_random_uuid(), '00000000-0000-0000-0000-000000000000', 'authenticated', 'authenticated',
                %s, %s, now(), now(), now())""",
            email,
            password_hash,
        )
    return emails


async def test_signing_in_takes_as_long_for_nobody_as_for_somebody(start_auth: StartAuth) -> None:
    auth = await start_auth()
    stored = use_real_costs(auth)
    known = insert_users(auth, 100, stored, "known")
    without = insert_users(auth, 50, None, "without")
    unknown = [f"nobody{number}@example.com" for number in range(100)]

    async def ask(email: str) -> Answer:
        return await auth.post(GRANT, {"email": email, "password": "wrong password"})

    await ask("warm@example.com")
    assert await leak(ask, known, unknown, 400) < ALIKE
    assert await leak(ask, known[:50], without, 400) < ALIKE

    verify = auth.service._passwords.verify

    async def verify_only_what_is_there(password: str, stored: str | None) -> bool:
        return bool(stored) and await verify(password, stored)

    auth.service._passwords.verify = verify_only_what_is_there  # type: ignore[method-assign]
    assert await leak(ask, known, unknown, 400) > LEAKY


async def test_signing_up_takes_as_long_for_a_known_address_as_for_a_new_one(start_auth: StartAuth) -> None:
    auth = await start_auth(email={"enable_confirmations": True}, sender=SlowPost())
    use_real_costs(auth)
    known = insert_users(auth, 40, None, "known")
    new = [f"new{number}@example.com" for number in range(80)]

    async def ask(email: str) -> Answer:
        return await auth.post("/signup", {"email": email, "password": PASSWORD})

    for number in range(30):
        await ask(f"warm{number}@example.com")
    assert await leak(ask, known, new[:40], 200) < ALIKE
    forget_the_pace(auth)
    assert await leak(ask, known, new[40:], 200) > LEAKY


async def test_recovery_takes_as_long_for_nobody_as_for_somebody(start_auth: StartAuth) -> None:
    auth = await start_auth(sender=SlowPost())
    known = insert_users(auth, 40, None, "known")
    unknown = [f"nobody{number}@example.com" for number in range(40)]

    async def ask(email: str) -> Answer:
        return await auth.post("/recover", {"email": email})

    for email in insert_users(auth, 30, None, "warm"):
        await ask(email)
    assert await leak(ask, known, unknown, 200) < ALIKE
    forget_the_pace(auth)
    assert await leak(ask, known, unknown, 200) > LEAKY


class SlowPost:
    """A mail server takes its time, and never the same."""

    async def send(self, message: Any) -> None:
        await asyncio.sleep(random.uniform(0.03, 0.08))


def forget_the_pace(auth: AuthClient) -> None:
    """As if no real answer had ever been measured."""

    class Forgetful(dict[str, Any]):
        def setdefault(self, key: str, default: Any = None) -> Any:
            return default

    auth.service._auth.pace._lately = Forgetful()
