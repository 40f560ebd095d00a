"""Passkeys and security keys in a real browser: Chromium, its virtual authenticator, and the unmodified bundle of
supabase-js on a page of its own origin."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.browser import Page, a_page, find_browser, serving
from tests.ports import free_port
from tests.server import Server, running_server

pytestmark = pytest.mark.req("P6")

BUNDLE = Path(__file__).parent.parent / "contract/js/node_modules/@supabase/supabase-js/dist/umd/supabase.js"
CONFIG = """
project_id = "ceremony"

[auth]
site_url = "http://127.0.0.1:{port}"

[auth.email]
enable_confirmations = false

[auth.mfa.totp]
enroll_enabled = true
verify_enabled = true

[auth.mfa.web_authn]
enroll_enabled = true
verify_enabled = true

[auth.passkey]
enabled = true
"""
HTML = '<!doctype html><meta charset="utf-8"><title>Ceremony</title><script src="supabase.js"></script>'
PASSWORD = "correct horse battery"
AUTHENTICATOR = {
    "protocol": "ctap2",
    "ctap2Version": "ctap2_1",
    "transport": "usb",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A project and the origin of its site."""
    folder, port = tmp_path_factory.mktemp("ceremony"), free_port()
    project, pages = folder / "project", folder / "pages"
    (project / "supabase").mkdir(parents=True)
    (project / "supabase" / "config.toml").write_text(CONFIG.format(port=port), "utf-8")
    pages.mkdir()
    (pages / "index.html").write_text(HTML, "utf-8")
    assert BUNDLE.is_file(), "run `make test` once: it installs the JavaScript clients"
    shutil.copy(BUNDLE, pages / "supabase.js")
    with running_server(project) as server, serving(pages, port):
        yield server, f"http://localhost:{port}"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    browser = find_browser()
    if browser is None:
        pytest.skip("there is no Chromium: tools/install-test-browser could not install one, try it by hand")
    with a_page(browser, tmp_path_factory.mktemp("browser")) as page:
        page.command("WebAuthn.enable")
        yield page


@pytest.fixture
def page(tab: Page, site: tuple[Server, str]) -> Iterator[Page]:
    """The site in a browser with a new authenticator and nobody signed in; `client` speaks to the project."""
    server, origin = site
    made = tab.command("WebAuthn.addVirtualAuthenticator", options=AUTHENTICATOR)
    tab.open(f"{origin}/index.html")
    url, key = json.dumps(server.url), json.dumps(server.publishable_key)
    tab.run(f"localStorage.clear(), window.client = supabase.createClient({url}, {key}), true")
    yield tab
    tab.command("WebAuthn.removeVirtualAuthenticator", authenticatorId=made["authenticatorId"])


def good(page: Page, call: str) -> Any:
    """The data of a call of the client that is to succeed."""
    script = f"(async () => {{ const {{ data, error }} = await client.auth.{call};"
    answer = page.run(
        script + " return { data, error: error && `${error.name} ${error.code}: ${error.message}` } })()"
    )
    assert answer["error"] is None, f"{call}: {answer['error']}"
    return answer["data"]


def sign_up(page: Page, email: str) -> str:
    user: str = good(page, f"signUp({json.dumps({'email': email, 'password': PASSWORD})})")["user"]["id"]
    return user


def levels(page: Page) -> tuple[str, str]:
    told = good(page, "mfa.getAuthenticatorAssuranceLevel()")
    return told["currentLevel"], told["nextLevel"]


def test_a_passkey_is_registered_and_signs_in(page: Page) -> None:
    user = sign_up(page, "ada@example.com")
    passkey = good(page, "registerPasskey()")
    assert passkey["friendly_name"]
    for _ in range(2):
        assert page.run("client.auth.signOut().then(({ error }) => error)") is None
        assert good(page, "getSession()")["session"] is None
        session = good(page, "signInWithPasskey()")["session"]
        assert session["user"]["id"] == user
        assert good(page, "getUser()")["user"]["email"] == "ada@example.com"
    [listed] = good(page, "passkey.list()")
    assert listed["id"] == passkey["id"]
    assert listed["last_used_at"]
    again = page.run("client.auth.registerPasskey().then(({ error }) => error?.name)")
    assert again == "InvalidStateError", "the authenticator knows that it has one already"


def test_a_passkey_that_was_deleted_is_refused(page: Page) -> None:
    sign_up(page, "eve@example.com")
    passkey = good(page, "registerPasskey()")
    good(page, f"passkey.delete({json.dumps({'passkeyId': passkey['id']})})")
    page.run("client.auth.signOut().then(() => true)")
    code = page.run("client.auth.signInWithPasskey().then(({ error }) => error?.code)")
    assert code == "webauthn_verification_failed"


def test_a_security_key_is_enrolled_and_raises_a_session(page: Page) -> None:
    sign_up(page, "grace@example.com")
    good(page, 'mfa.webauthn.register({ friendlyName: "key" })')
    assert levels(page) == ("aal2", "aal2")
    page.run("client.auth.signOut().then(() => true)")
    credentials = json.dumps({"email": "grace@example.com", "password": PASSWORD})
    good(page, f"signInWithPassword({credentials})")
    assert levels(page) == ("aal1", "aal2")
    [factor] = good(page, "mfa.listFactors()")["webauthn"]
    good(page, f"mfa.webauthn.authenticate({json.dumps({'factorId': factor['id']})})")
    assert levels(page) == ("aal2", "aal2")


def test_the_picture_of_an_authenticator_apps_secret_can_be_seen(page: Page) -> None:
    sign_up(page, "hedy@example.com")
    factor = good(page, 'mfa.enroll({ factorType: "totp", friendlyName: "app" })')
    show = """new Promise((resolve) => {
        const image = new Image()
        image.onload = () => resolve([image.naturalWidth, image.naturalHeight])
        image.onerror = () => resolve(null)
        image.src = %s
    })"""
    size = page.run(show % json.dumps(factor["totp"]["qr_code"]))
    assert size is not None, "the browser cannot show the data: URL that supabase-js makes of the SVG"
    assert size[0] == size[1] > 100
