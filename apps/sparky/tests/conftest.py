"""The app in a database of its own for each test, people who act in it, and one running server for the journeys."""

import gc
import json
import secrets
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row
from supabase import Client, ClientOptions, create_client

from basalt.postgres import DatabaseAccess, apply_migrations
from tests.conftest import (  # noqa: F401  fixtures
    CloneDatabase,
    clone_database,
    cluster,
    cluster_access,
    cluster_dir,
    create_database,
    template,
)
from tests.server import Server, copy_project, running_server

from .gemini import Gemini, running_gemini
from .paymob import Paymob, running_paymob

APP = Path(__file__).parent.parent
TEMPLATE = "sparky_template"
START_CREDITS = 10
Connection = psycopg.Connection[dict[str, Any]]

# supabase-py leaves the sockets of its HTTP clients to the garbage collector.
CLIENT_WARNINGS = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("collect_sockets"),
]

_numbers = count(1000)


@pytest.fixture(scope="session")
def app_template(cluster_access: DatabaseAccess, template: DatabaseAccess) -> DatabaseAccess:  # noqa: F811
    with psycopg.connect(cluster_access.conninfo("supabase_admin"), autocommit=True) as connection:
        create_database(connection, TEMPLATE, template.dbname)
    access = cluster_access.with_dbname(TEMPLATE)
    apply_migrations(access, APP)
    return access


@pytest.fixture
def access(app_template: DatabaseAccess, clone_database: CloneDatabase) -> Iterator[DatabaseAccess]:  # noqa: F811
    with clone_database(app_template.dbname) as cloned:
        yield cloned


@pytest.fixture(scope="module")
def collect_sockets() -> Iterator[None]:
    """At a module's end, and not in the middle of some later test that takes warnings for errors."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture(scope="session")
def paymob() -> Iterator[Paymob]:
    """The payment provider that the running project is told of."""
    with running_paymob() as provider:
        yield provider


@pytest.fixture(scope="session")
def sparky(paymob: Paymob, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app at work, once for all journeys."""
    project = copy_project(APP, tmp_path_factory.mktemp("sparky") / "sparky")
    lines = [f"{name}={value}" for name, value in paymob.secrets.items()]
    (project / "supabase" / "functions" / ".env").write_text("\n".join(lines) + "\n", "utf-8")
    with running_server(project, BASALT_WORKER_MODE="gateway") as server:
        paymob.callback_url = f"{server.url}/functions/v1/paymob-webhooks"
        yield server
        close_owner(server)


_owners: dict[str, Connection] = {}


@contextmanager
def owner(server: Server) -> Iterator[Connection]:
    """The owner's session with autocommit. It is opened once: these tests look into the database hundreds of times."""
    if server.database_url not in _owners:
        _owners[server.database_url] = psycopg.connect(
            server.database_url, row_factory=dict_row, autocommit=True
        )
    yield _owners[server.database_url]


def close_owner(server: Server) -> None:
    if server.database_url in _owners:
        _owners.pop(server.database_url).close()


@pytest.fixture(scope="session")
def gemini_server() -> Iterator[Gemini]:
    with running_gemini() as provider:
        yield provider


@pytest.fixture
def gemini(gemini_server: Gemini) -> Iterator[Gemini]:
    """The image model of the tests that are `drawn_by_gemini`; it complains of nothing that it is sent."""
    gemini_server.reset()
    yield gemini_server
    gemini_server.gate.set()
    assert not gemini_server.problems


WHICH_MODEL = """
async def handler(request, context):
    return {"is_gemini": "GEMINI_API_KEY" in context.env}
"""


@pytest.fixture(scope="module")
def drawn_by_gemini(sparky: Server, gemini_server: Gemini) -> Iterator[None]:
    """The running project has Gemini's key while a module's tests run, and the local preview afterwards."""
    functions = sparky.project_dir / "supabase" / "functions"
    (functions / "which-model").mkdir(exist_ok=True)
    (functions / "which-model" / "index.py").write_text(WHICH_MODEL, "utf-8")
    # Its process is there before the switch, so that only a look at the files replaces it: then all are.
    _wait_for_model(sparky, is_gemini=False)
    before = (functions / ".env").read_text("utf-8")
    lines = [f"{name}={value}" for name, value in gemini_server.secrets.items()]
    _switch_model(sparky, before + "\n".join(lines) + "\n", is_gemini=True)
    yield
    _switch_model(sparky, before, is_gemini=False)


def _switch_model(server: Server, dotenv: str, *, is_gemini: bool) -> None:
    (server.project_dir / "supabase" / "functions" / ".env").write_text(dotenv, "utf-8")
    _wait_for_model(server, is_gemini=is_gemini)


def _wait_for_model(server: Server, *, is_gemini: bool) -> None:
    """A saved file counts from one of the next requests."""
    deadline = time.monotonic() + 15
    with server.client(key=server.service_role_key) as http:
        while http.post("/functions/v1/which-model").json() != {"is_gemini": is_gemini}:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@contextmanager
def a_client(server: Server, key: str) -> Iterator[Client]:
    """supabase-py over a connection that is closed at the end."""
    with httpx.Client(timeout=30, verify=False) as http:
        yield create_client(
            server.url, key, ClientOptions(auto_refresh_token=False, persist_session=False, httpx_client=http)
        )


@pytest.fixture
def service(sparky: Server) -> Iterator[Client]:
    with a_client(sparky, sparky.service_role_key) as client:
        yield client


@pytest.fixture
def buyer(sparky: Server, service: Client) -> Iterator[Client]:
    """A signed-in user of the running app."""
    email, password = f"{uuid.uuid4()}@example.com", "correct horse battery"
    service.auth.admin.create_user({"email": email, "password": password, "email_confirm": True})
    with a_client(sparky, sparky.anon_key) as client:
        client.auth.sign_in_with_password({"email": email, "password": password})
        yield client


@dataclass(frozen=True)
class App:
    """`admin` is the owner's connection; `acting_as` gives one that acts as a person, the way a request does."""

    access: DatabaseAccess
    admin: Connection
    opened: list[Connection] = field(default_factory=list)
    local: threading.local = field(default_factory=threading.local)

    @contextmanager
    def acting_as(self, user_id: str | None, role: str | None = None) -> Iterator[Connection]:
        """One transaction as a user (None: nobody signed in) or as `service_role`."""
        chosen = role or ("authenticated" if user_id else "anon")
        claims = json.dumps({"role": chosen, **({"sub": user_id} if user_id else {})})
        connection = self._connection()
        with connection.transaction():
            connection.execute(
                "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
                [chosen, claims],
            )
            yield connection

    def _connection(self) -> Connection:
        """One for each thread: logging in costs more than what most tests do."""
        if not hasattr(self.local, "connection"):
            self.local.connection = psycopg.connect(
                self.access.conninfo("authenticator"), row_factory=dict_row, autocommit=True
            )
            self.opened.append(self.local.connection)
        connection: Connection = self.local.connection
        return connection

    def call(self, user_id: str | None, routine: str, *, as_role: str | None = None, **arguments: Any) -> Any:
        """A routine called as a person; its value."""
        names = ", ".join(f"{name} => %({name})s" for name in arguments)
        values = {
            name: json.dumps(value) if isinstance(value, dict) else value for name, value in arguments.items()
        }
        with self.acting_as(user_id, as_role) as connection:
            row = connection.execute(f"select public.{routine}({names}) as value", values).fetchone()
        assert row is not None
        return row["value"]

    def serve(self, routine: str, **arguments: Any) -> Any:
        """A routine called as the service role, as functions do."""
        return self.call(None, routine, as_role="service_role", **arguments)

    def a_user(self, *, credits: int | None = None) -> str:  # noqa: A002
        """An account with the credits that it starts with, or with so many."""
        user_id = str(uuid.uuid4())
        self.admin.execute(
            "insert into auth.users (id, aud, role, email) values (%s, 'authenticated', 'authenticated', %s)",
            [user_id, f"{user_id}@example.com"],
        )
        if credits is not None and credits != START_CREDITS:
            self.serve("adjust_credits", p_user_id=user_id, p_credits=credits - START_CREDITS)
        return user_id

    def an_order(self, user_id: str, item: str = "small", *, kind: str = "pack") -> dict[str, Any]:
        """An order that Paymob knows: `create_order` and `attach_paymob_order`; with `paymob_order_id`."""
        order: dict[str, Any] = self.call(user_id, "create_order", p_kind=kind, p_item_id=item)
        order["paymob_order_id"] = next(_numbers)
        self.serve(
            "attach_paymob_order",
            p_merchant_order_id=order["merchant_order_id"],
            p_paymob_order_id=order["paymob_order_id"],
        )
        return order

    def serve_cron(self) -> None:
        """A run of the schedule of subscriptions, on a connection of its own."""
        with psycopg.connect(self.access.conninfo("postgres")) as connection:
            connection.execute("select private.advance_subscriptions()")

    def one(self, sql: str, *parameters: Any) -> Any:
        """The first value of a query by the owner."""
        row = self.admin.execute(sql, parameters).fetchone()
        return next(iter(row.values())) if row else None

    def rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        return self.admin.execute(sql, parameters).fetchall()

    def balance(self, user_id: str) -> int:
        """The credits of a user, after checking that the log adds up to them."""
        balance: int = self.one("select credits from public.users where id = %s", user_id)
        logged = self.one(
            "select coalesce(sum(credits), 0) from public.credit_log where user_id = %s", user_id
        )
        assert balance == logged
        return balance


@pytest.fixture
def app(access: DatabaseAccess) -> Iterator[App]:
    with psycopg.connect(access.conninfo("postgres"), row_factory=dict_row, autocommit=True) as admin:
        app = App(access, admin)
        yield app
        for connection in app.opened:
            connection.close()


@pytest.fixture
def refused() -> Callable[..., psycopg.Error]:
    """`refused("CODE", call, …)`: the call fails with that code; gives the error."""

    def check(code: str, work: Callable[..., Any], *arguments: Any, **named: Any) -> psycopg.Error:
        with pytest.raises(psycopg.Error) as caught:
            work(*arguments, **named)
        message = caught.value.diag.message_primary or ""
        assert message.startswith(f"{code}: ") or caught.value.sqlstate == code, message
        return caught.value

    return check


def a_cache_key() -> str:
    """What stands for a SHA-256 of a request."""
    return secrets.token_hex(32)
