"""Auth over a real database: the service, a client that speaks to it in requests, and its Inbox."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from psycopg.rows import dict_row

from basalt.access import Authoriser, ProjectKeys, load_project_keys
from basalt.auth import AuthService
from basalt.config import Settings, load_settings
from basalt.config.auth_settings import MfaSettings
from basalt.http import Headers, Request
from basalt.postgres import DatabaseAccess
from tests.auth.shared_database import SharedDatabase
from tests.conftest import CloneDatabase
from tests.fakes.oidc import FakeOidc, fake_oidc
from tests.fakes.sms import FakeSms, fake_sms

PASSWORD = "correct horse battery"


@dataclass
class Answer:
    """What came back, its body read as JSON where it is JSON."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        """Status and code of an error, both as the body and the header tell them."""
        body = self.json
        assert body["code"] == self.status
        assert body["msg"]
        assert self.headers["x-sb-error-code"] == body["error_code"]
        return self.status, body["error_code"]


@dataclass
class AuthClient:
    """Sends requests to a service as the gateway would."""

    service: AuthService
    keys: ProjectKeys
    access: DatabaseAccess
    settings: Settings
    sent: list[Answer] = field(default_factory=list)

    async def send(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        client_ip: str = "127.0.0.1",
    ) -> Answer:
        """`target` is path and query; a body of bytes goes as it is."""
        path, _, query = target.partition("?")
        content = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
        given = {"apikey": self.keys.publishable_key, "user-agent": "tests", **(headers or {})}
        if token is not None:
            given["authorization"] = f"Bearer {token}"
        request = Request(
            method=method,
            path=path,
            prefix="/auth/v1",
            query_string=query.encode(),
            headers=Headers([(name.encode(), value.encode("latin-1")) for name, value in given.items()]),
            base_url=self.settings.api_url,
            client_ip=client_ip,
            request_id="test-request",
            receive=_receive(content),
        )
        response = await self.service.respond(request)
        assert isinstance(response.body, bytes)
        answer = Answer(
            response.status,
            {name.decode(): value.decode() for name, value in response.headers},
            response.body,
        )
        self.sent.append(answer)
        return answer

    async def post(self, target: str, body: object = None, **options: Any) -> Answer:
        return await self.send("POST", target, body, **options)

    async def get(self, target: str, **options: Any) -> Answer:
        return await self.send("GET", target, **options)

    async def admin(self, method: str, target: str, body: object = None) -> Answer:
        return await self.send(method, target, body, token=self.keys.service_role_key)

    async def session(self, target: str, body: object) -> dict[str, Any]:
        """The session of a request that is to succeed."""
        answer = await self.post(target, body)
        assert answer.status == 200, answer.body
        session: dict[str, Any] = answer.json
        assert session["access_token"]
        return session

    async def a_user(self, email: str = "ada@example.com", **attributes: Any) -> dict[str, Any]:
        """A confirmed user with the password of the tests, made by an administrator."""
        body = {"email": email, "password": PASSWORD, "email_confirm": True, **attributes}
        answer = await self.admin("POST", "/admin/users", body)
        assert answer.status == 200, answer.body
        user: dict[str, Any] = answer.json
        return user

    async def sign_in(self, email: str = "ada@example.com", password: str = PASSWORD) -> dict[str, Any]:
        return await self.session("/token?grant_type=password", {"email": email, "password": password})

    def rows(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """Rows as an administrator of the database sees them."""
        with psycopg.connect(
            self.access.conninfo("supabase_admin"), row_factory=dict_row, autocommit=True
        ) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def inbox(self, to: str | None = None) -> list[dict[str, Any]]:
        """Messages, the newest first."""
        return self.rows(
            "select * from basalt.inbox_messages where %s::text is null or recipient = %s order by id desc",
            to,
            to,
        )

    def code(self, to: str) -> str:
        """The code in the newest message."""
        code: str = self.inbox(to)[0]["data"]["token"]
        return code


StartAuth = Callable[..., Awaitable[AuthClient]]


@pytest.fixture(scope="session")
def shared_database(template: DatabaseAccess, clone_database: CloneDatabase) -> Iterator[SharedDatabase]:
    shared = SharedDatabase(template, clone_database)
    yield shared
    shared.close()


@pytest.fixture
def database(shared_database: SharedDatabase) -> Iterator[DatabaseAccess]:
    """An empty project's database, for one test at a time."""
    yield shared_database.take()
    shared_database.give_back()


@pytest.fixture
def base_settings(tmp_path: Path) -> Settings:
    """The defaults of a new project, with phones allowed, short waits and quick hashes."""
    (tmp_path / "supabase").mkdir()
    return load_settings(tmp_path, {})


@pytest.fixture
async def start_auth(database: DatabaseAccess, base_settings: Settings) -> AsyncIterator[StartAuth]:
    """`await start_auth(email={"enable_confirmations": True})` opens a service with `[auth]` changed so."""
    async with AsyncExitStack() as stack:

        async def start(
            *, email: Any = None, sms: Any = None, basalt: Any = None, sender: Any = None, **auth: Any
        ) -> AuthClient:
            section = base_settings.auth
            section = replace(
                section,
                email=replace(section.email, **{"max_frequency_s": 0.0, **(email or {})}),
                sms=replace(
                    section.sms,
                    **{
                        "max_frequency_s": 0.0,
                        "enable_signup": True,
                        "enable_confirmations": True,
                        **(sms or {}),
                    },
                ),
                **auth,
            )
            settings = replace(
                base_settings, auth=section, basalt=replace(base_settings.basalt, **(basalt or {}))
            )
            keys = load_project_keys(base_settings.state_dir, settings)
            service = AuthService(settings, keys, Authoriser(keys), database, sender, bcrypt_rounds=4)
            await service.open()
            stack.push_async_callback(service.close)
            return AuthClient(service, keys, database, settings)

        yield start


@pytest.fixture
def mfa_settings(base_settings: Settings) -> MfaSettings:
    """Every kind of second factor allowed, texts without a wait."""
    mfa, on = base_settings.auth.mfa, {"enroll_enabled": True, "verify_enabled": True}
    return replace(
        mfa,
        totp=replace(mfa.totp, **on),
        phone=replace(mfa.phone, **on, max_frequency_s=0.0),
        web_authn=replace(mfa.web_authn, **on),
    )


@pytest.fixture
async def auth(start_auth: StartAuth) -> AuthClient:
    """Everything confirmed at once, as in local development."""
    return await start_auth()


@pytest.fixture
async def strict_auth(start_auth: StartAuth) -> AuthClient:
    """Addresses must be confirmed."""
    return await start_auth(email={"enable_confirmations": True})


@pytest.fixture
def oidc() -> Iterator[FakeOidc]:
    """An OpenID provider on this machine."""
    with fake_oidc() as fake:
        yield fake


def _receive(content: bytes) -> Callable[[], Awaitable[dict[str, Any]]]:
    messages = [{"type": "http.request", "body": content}]

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


@pytest.fixture
async def sms() -> AsyncIterator[FakeSms]:
    async with fake_sms() as running:
        yield running
