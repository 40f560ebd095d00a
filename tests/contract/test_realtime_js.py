"""Realtime through unmodified supabase-js: what its documentation shows, in both versions of the protocol, and an older
major of the client."""

import pytest

from tests.contract.conftest import run_steps
from tests.server import Server

both_versions = pytest.mark.parametrize("vsn", ["2.0.0", "1.0.0"])


def run(script: str, chat: Server, vsn: str = "2.0.0") -> None:
    run_steps(f"realtime/{script}.mjs", chat, BASALT_VSN=vsn, BASALT_JWT_SECRET=chat.jwt_secret)


@both_versions
@pytest.mark.req("P7")
def test_clients_broadcast_to_each_other(chat: Server, vsn: str) -> None:
    run("broadcast", chat, vsn)


@both_versions
@pytest.mark.req("P7")
def test_clients_see_who_is_present(chat: Server, vsn: str) -> None:
    run("presence", chat, vsn)


@both_versions
@pytest.mark.req("P7")
def test_clients_hear_of_changes(chat: Server, vsn: str) -> None:
    run("changes", chat, vsn)


@pytest.mark.req("P7")
def test_changes_are_filtered_by_every_operator(chat: Server) -> None:
    run("filters", chat)


@both_versions
@pytest.mark.req("P7")
def test_the_database_broadcasts_and_what_is_kept_is_replayed(chat: Server, vsn: str) -> None:
    run("database", chat, vsn)


@pytest.mark.req("P7", "A4")
def test_policies_decide_about_private_channels(chat: Server) -> None:
    run("private", chat)


@pytest.mark.req("P7", "A4")
def test_tokens_change_and_expire_on_a_live_socket(chat: Server) -> None:
    run("tokens", chat)


@both_versions
@pytest.mark.req("P7", "G12")
def test_connections_end_and_come_back(chat: Server, vsn: str) -> None:
    run("connections", chat, vsn)


@pytest.mark.req("P7")
def test_what_cannot_be_subscribed_to_is_refused_in_the_words_of_supabase(chat: Server) -> None:
    run("refusals", chat)


@pytest.mark.req("P7")
def test_an_older_major_of_the_client_hears_of_changes(chat: Server) -> None:
    run("older", chat)


@pytest.mark.req("P7")
def test_no_method_of_the_client_is_left_out(chat: Server) -> None:
    run("methods", chat)
