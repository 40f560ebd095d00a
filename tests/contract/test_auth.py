"""Accounts and sessions by unmodified supabase-js, method by method."""

import pytest

from tests.contract.conftest import run_steps
from tests.server import Server


@pytest.mark.req("P6", "G10", "A2", "M6")
def test_people_sign_up_sign_in_and_change_their_accounts(members: Server) -> None:
    run_steps("auth/accounts.mjs", members)


@pytest.mark.req("P4", "P6")
def test_sessions_are_kept_refreshed_verified_and_ended(members: Server) -> None:
    run_steps("auth/sessions.mjs", members)


@pytest.mark.req("P6")
def test_no_method_of_the_client_is_left_out(members: Server) -> None:
    run_steps("auth/methods.mjs", members)
