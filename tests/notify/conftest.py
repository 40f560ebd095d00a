"""The notification engine's tables in a database of a test's own, and people in it."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from basalt.postgres import DatabaseAccess, apply_module
from tests.conftest import TEMPLATE, CloneDatabase, create_database
from tests.fakes.resend import SECRET as RESEND_SECRET
from tests.projects import write_project
from tests.server import Server, running_server

Connection = psycopg.Connection[tuple[Any, ...]]

NOTIFY_TEMPLATE = "basalt_notify_template"
NOTIFY_SETTINGS = {
    "max_context_bytes": 65536.0,
    "archive_after_s": 90 * 86400.0,
    "keep_s": 365 * 86400.0,
    "keep_deliveries_s": 30 * 86400.0,
}


@pytest.fixture(scope="session")
def notify_template(template: DatabaseAccess) -> DatabaseAccess:
    """A template with the contract and the engine's tables."""
    with psycopg.connect(
        template.with_dbname("template1").conninfo("supabase_admin"), autocommit=True
    ) as connection:
        create_database(connection, NOTIFY_TEMPLATE, TEMPLATE)
    access = template.with_dbname(NOTIFY_TEMPLATE)
    apply_module(access, "notify", NOTIFY_SETTINGS)
    return access


@pytest.fixture
def notify_database(
    notify_template: DatabaseAccess, clone_database: CloneDatabase
) -> Iterator[DatabaseAccess]:
    """A fresh copy of it."""
    with clone_database(notify_template.dbname) as access:
        yield access


@pytest.fixture(scope="module")
def shared_database(
    notify_template: DatabaseAccess, clone_database: CloneDatabase
) -> Iterator[DatabaseAccess]:
    """A copy for the tests of a file, which leave nothing in it."""
    with clone_database(notify_template.dbname) as access:
        yield access


@pytest.fixture(scope="module")
def module_connection(shared_database: DatabaseAccess) -> Iterator[Connection]:
    with psycopg.connect(shared_database.conninfo("postgres"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def connection(module_connection: Connection) -> Iterator[Connection]:
    """As `postgres`, in a transaction that is undone."""
    with module_connection.transaction(force_rollback=True):
        yield module_connection


@pytest.fixture
def ann(connection: Connection) -> UUID:
    return a_user(connection, "ann@example.com")


CONFIG = """
project_id = "notified"
[auth.email]
enable_confirmations = false
[notify]
enabled = true
environment = "sandbox"
[notify.sandbox.resend]
webhook_secret = "%s"
"""
MIGRATION = """
select public.save_notification_template('greeting', 'in_app', 'Hello {{ name }}', subject => 'For {{ name }}',
    metadata_schema => '{"required": ["name"], "properties": {"name": {"type": "string"}}}');
alter table public.notifications add column pinned boolean not null default false;
"""
FUNCTION = """
from basalt.functions import Context, Request


async def handler(request: Request, context: Context) -> object:
    body = request.json()
    if body.get("undone"):
        async with context.db.transaction() as tx:
            await context.notify.issue("greeting", subject_id=context.user_id, context=body, transaction=tx)
            raise RuntimeError("undone")
    return {"id": await context.notify.issue("greeting", subject_id=context.user_id, context=body)}
"""


@pytest.fixture(scope="session")
def notified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A project with the engine and a worker."""
    files = {
        "config.toml": CONFIG % RESEND_SECRET,
        "1_templates.sql": MIGRATION,
        "functions/greet/index.py": FUNCTION,
    }
    project = write_project(tmp_path_factory.mktemp("notified"), files)
    with running_server(project, BASALT_WORKER_MODE="process") as server:
        yield server


@pytest.fixture
def sql(notified: Server) -> Iterator[Connection]:
    """The project's database as its developer sees it; each statement commits."""
    with psycopg.connect(notified.database_url, autocommit=True) as connection:
        yield connection


def a_user(connection: Connection, email: str = "", *, phone: str = "", **columns: str) -> UUID:
    """A user with a confirmed address and number, where they are given."""
    user_id = uuid4()
    connection.execute(
        "insert into auth.users (id, aud, role, email, email_confirmed_at, phone, phone_confirmed_at,"
        " raw_user_meta_data) values (%s, 'authenticated', 'authenticated', nullif(%s, ''),"
        " case when %s <> '' then now() end, nullif(%s, ''), case when %s <> '' then now() end, %s)",
        [user_id, email, email, phone, phone, psycopg.types.json.Jsonb(columns)],
    )
    return user_id
