"""The OAuth server through the official clients: unmodified supabase-js in Node, and supabase-py."""

import pytest
from supabase import ClientOptions, create_client
from supabase_auth.errors import AuthApiError
from supabase_auth.types import CreateOAuthClientParams, PageParams, UpdateOAuthClientParams

from tests.contract.conftest import run_steps
from tests.server import Server


@pytest.mark.req("P6")
def test_supabase_js_manages_clients_and_asks_for_consent(club: Server) -> None:
    run_steps("auth/oauth_server.mjs", club)


@pytest.mark.req("P6")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_supabase_py_manages_clients(club: Server) -> None:
    options = ClientOptions(auto_refresh_token=False, persist_session=False)
    clients = create_client(club.url, club.service_role_key, options).auth.admin.oauth
    uris = ["https://py.example.com/callback"]
    made = clients.create_client(CreateOAuthClientParams(client_name="Py", redirect_uris=uris)).client
    assert made is not None
    assert made.client_secret
    assert made.redirect_uris == uris
    shown = clients.get_client(made.client_id).client
    assert shown is not None
    assert (shown.client_name, shown.client_secret) == ("Py", None)
    changed = clients.update_client(made.client_id, UpdateOAuthClientParams(client_name="Python")).client
    assert changed is not None
    assert (changed.client_name, changed.redirect_uris) == ("Python", uris)
    listed = clients.list_clients(PageParams(page=1, per_page=1))
    assert [each.client_name for each in listed.clients] == ["Python"]
    assert listed.total >= 1
    renewed = clients.regenerate_client_secret(made.client_id).client
    assert renewed is not None
    assert renewed.client_secret not in (None, made.client_secret)
    clients.delete_client(made.client_id)
    with pytest.raises(AuthApiError) as gone:
        clients.get_client(made.client_id)
    assert (gone.value.status, gone.value.code) == (404, "oauth_client_not_found")
    with pytest.raises(AuthApiError) as refused:
        clients.create_client(
            CreateOAuthClientParams(client_name="Py", redirect_uris=["http://py.example.com/"])
        )
    assert (refused.value.status, refused.value.code) == (400, "validation_failed")
