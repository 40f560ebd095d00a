"""Captchas, weak passwords, hooks and limits through unmodified supabase-js and supabase-py."""

from collections.abc import Iterator
from itertools import count

import jwt
import pytest
from supabase import Client, ClientOptions, create_client
from supabase_auth.errors import AuthApiError, AuthWeakPasswordError

from tests.contract.conftest import run_steps
from tests.fakes.captcha import SECRET, CaptchaService, captcha_service
from tests.fakes.pwned import PwnedPasswords, pwned_passwords
from tests.server import Server, running_server

# supabase-py leaves the sockets of its HTTP clients to the garbage collector.
pytestmark = [
    pytest.mark.req("P5", "P6"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
PASSWORD = "correct horse battery"
CONFIG = """
[auth]
minimum_password_length = 8
enable_anonymous_sign_ins = true

[auth.email]
max_frequency = "0s"

[auth.captcha]
enabled = true
provider = "turnstile"
secret = "{secret}"
verify_url = "{captcha_url}"

[auth.breached_passwords]
enabled = true
url = "{pwned_url}"

[auth.rate_limit]
password_failures = 3

[auth.hook.before_user_created]
uri = "pg-functions://postgres/public/before_user_created"

[auth.hook.custom_access_token]
uri = "pg-functions://postgres/public/custom_access_token"
"""
MIGRATION = """
create function public.before_user_created(event jsonb) returns jsonb language plpgsql as $$
begin
  if event->'user'->>'email' like '%@refused.example' then
    return '{"error": {"http_code": 403, "message": "Not with this address"}}';
  end if;
  return '{}';
end $$;

create function public.custom_access_token(event jsonb) returns jsonb language sql stable as
  $$ select jsonb_set(event, '{claims,plan}', '"free"') $$;

grant execute on function public.before_user_created, public.custom_access_token to supabase_auth_admin;
revoke execute on function public.before_user_created, public.custom_access_token from public, anon, authenticated;
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A project with everything switched on, and its providers."""
    folder = tmp_path_factory.mktemp("protected") / "protected"
    (folder / "supabase" / "migrations").mkdir(parents=True)
    captcha = CaptchaService({f"solved-{number}" for number in range(100)})
    pwned = PwnedPasswords({"qwerty", "password123"})
    with captcha_service(captcha) as captcha_url, pwned_passwords(pwned) as pwned_url:
        config = CONFIG.format(secret=SECRET, captcha_url=captcha_url, pwned_url=pwned_url)
        (folder / "supabase" / "config.toml").write_text(config)
        (folder / "supabase" / "migrations" / "20260101000000_hooks.sql").write_text(MIGRATION)
        with running_server(folder) as running:
            yield running


def test_a_client_in_javascript_meets_what_protects_sign_in(server: Server) -> None:
    run_steps("auth/protection.mjs", server)


def test_a_client_in_python_meets_what_protects_sign_in(server: Server) -> None:
    numbers = count(50)

    def options() -> dict[str, str]:
        return {"captcha_token": f"solved-{next(numbers)}"}

    def make_client() -> Client:
        settings = ClientOptions(auto_refresh_token=False, persist_session=False)
        return create_client(server.url, server.anon_key, settings)

    auth = make_client().auth
    with pytest.raises(AuthApiError) as refused:
        auth.sign_up({"email": "bob@example.com", "password": PASSWORD})
    assert (refused.value.status, refused.value.code) == (400, "captcha_failed")
    made = auth.sign_up({"email": "bob@example.com", "password": PASSWORD, "options": options()})
    assert made.session is not None
    claims = jwt.decode(made.session.access_token, options={"verify_signature": False})
    assert claims["plan"] == "free"
    with pytest.raises(AuthWeakPasswordError) as weak:
        auth.sign_up({"email": "eve@example.com", "password": "qwerty", "options": options()})
    assert weak.value.reasons == ["length", "pwned"]
    with pytest.raises(AuthApiError) as refused:
        auth.sign_up({"email": "bob@refused.example", "password": PASSWORD, "options": options()})
    assert (refused.value.status, refused.value.message) == (403, "Not with this address")
    auth.sign_in_with_otp({"email": "bob@example.com", "options": options()})
    for status in (400, 400, 400, 429):
        body = {"email": "nobody.py@example.com", "password": "wrong", "options": options()}
        with pytest.raises(AuthApiError) as refused:
            auth.sign_in_with_password(body)  # type: ignore[arg-type]
        assert refused.value.status == status
    assert refused.value.code == "over_request_rate_limit"
