"""Refresh tokens under any order of events: clients that share a token, lose answers or come late, and thieves.

The model knows the generations of one session's tokens and when each was used. Time passes by moving what the database
noted into the past.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from basalt.access import Authoriser, load_project_keys
from basalt.auth import AuthService
from basalt.auth.refresh_tokens import stored_form
from basalt.config import Settings
from basalt.postgres import DatabaseAccess
from tests.auth.conftest import PASSWORD, Answer, AuthClient

pytestmark = pytest.mark.req("P6")

INTERVAL_S = 1000
EMAIL = "ada@example.com"


class House:
    """A running Auth and its event loop, shared by all runs."""

    def __init__(self, access: DatabaseAccess, base: Settings) -> None:
        self.runner = asyncio.Runner()
        auth = replace(base.auth, refresh_token_reuse_interval_s=INTERVAL_S)
        whole = replace(base, auth=auth)
        keys = load_project_keys(base.state_dir, whole)
        self.service = AuthService(whole, keys, Authoriser(keys), access, bcrypt_rounds=4)
        self.client = AuthClient(self.service, keys, access, whole)
        self.run(self.service.open())
        self.run(self.client.a_user(EMAIL))

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def refresh_at_once(self, tokens: list[str]) -> list[Answer]:
        async def all_of_them() -> list[Answer]:
            requests = [
                self.client.post("/token?grant_type=refresh_token", {"refresh_token": token})
                for token in tokens
            ]
            return await asyncio.gather(*requests)

        answers: list[Answer] = self.run(all_of_them())
        return answers

    def close(self) -> None:
        self.run(self.service.close())
        self.runner.close()


@pytest.fixture
def house(database: DatabaseAccess, base_settings: Settings) -> Iterator[House]:
    built = House(database, base_settings)
    yield built
    built.close()


def machine_in(house: House) -> type[RuleBasedStateMachine]:
    class Family(RuleBasedStateMachine):
        """One session: `tokens` by generation, `used_at` of all but the last, on a clock that only `wait` moves."""

        @initialize()
        def sign_in(self) -> None:
            session = house.run(house.client.sign_in(EMAIL, PASSWORD))
            self.access_token = session["access_token"]
            self.tokens: list[str] = [session["refresh_token"]]
            self.used_at: list[int] = []
            self.clock = 0
            self.is_dead = False

        @rule(seconds=st.sampled_from([300, 2000]))
        def wait(self, seconds: int) -> None:
            self.clock += seconds
            house.client.rows(
                "update auth.refresh_tokens set updated_at = updated_at - make_interval(secs => %s)"
                " where session_id = (select session_id from auth.refresh_tokens where token = %s)",
                seconds,
                stored_form(self.tokens[0]),
            )

        @rule(back=st.integers(0, 4))
        def refresh(self, back: int) -> None:
            """By whoever holds the token of so many generations ago: an honest client, one that comes late, a thief."""
            generation = max(0, len(self.tokens) - 1 - back)
            [answer] = house.refresh_at_once([self.tokens[generation]])
            self.expect(answer, generation)

        @precondition(lambda self: not self.is_dead)
        @rule(count=st.integers(2, 6))
        def refresh_together(self, count: int) -> None:
            """Several tabs with the newest token."""
            answers = house.refresh_at_once([self.tokens[-1]] * count)
            assert [answer.status for answer in answers] == [200] * count
            [token] = {answer.json["refresh_token"] for answer in answers}
            self.advance(token)

        @precondition(
            lambda self: not self.is_dead and len(self.tokens) > 1 and self.is_recent(len(self.tokens) - 2)
        )
        @rule(count=st.integers(1, 3))
        def refresh_while_another_lags(self, count: int) -> None:
            """Tabs with the newest token beside tabs that have the one before: none is signed out."""
            answers = house.refresh_at_once([self.tokens[-1], self.tokens[-2]] * count)
            assert [answer.status for answer in answers] == [200] * 2 * count
            given = [answer.json["refresh_token"] for answer in answers]
            [token] = set(given[0::2])
            assert set(given[1::2]) <= {token, self.tokens[-1]}
            self.advance(token)

        @invariant()
        def one_token_lives_at_most(self) -> None:
            if not hasattr(self, "tokens"):
                return
            living = house.client.rows(
                "select token from auth.refresh_tokens where not revoked and session_id ="
                " (select session_id from auth.refresh_tokens where token = %s)",
                stored_form(self.tokens[0]),
            )
            expected = [] if self.is_dead else [stored_form(self.tokens[-1])]
            assert [row["token"] for row in living] == expected

        def is_recent(self, generation: int) -> bool:
            return self.clock - self.used_at[generation] <= INTERVAL_S

        def advance(self, token: str) -> None:
            assert token not in self.tokens
            self.used_at.append(self.clock)
            self.tokens.append(token)

        def expect(self, answer: Answer, generation: int) -> None:
            newest = len(self.tokens) - 1
            if self.is_dead:
                assert answer.error == (400, "refresh_token_already_used")
            elif generation == newest:
                assert answer.status == 200, answer.body
                self.advance(answer.json["refresh_token"])
            elif generation == newest - 1 or self.is_recent(generation):
                assert answer.status == 200, answer.body
                assert answer.json["refresh_token"] == self.tokens[-1]
            else:
                assert answer.error == (400, "refresh_token_already_used")
                self.is_dead = True

    return Family


@pytest.mark.timeout(300)
def test_a_family_of_tokens_keeps_its_promises(house: House) -> None:
    run_state_machine_as_test(
        machine_in(house),
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
