"""The app's schema in a database of its own for each test, without the seeds; and the app at work, with them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from basalt.config import Settings, load_settings
from basalt.postgres import DatabaseAccess
from basalt.project import migrate
from tests.conftest import (  # noqa: F401  fixtures
    CloneDatabase,
    clone_database,
    cluster,
    cluster_access,
    cluster_dir,
    create_database,
    template,
)
from tests.server import copy_project

from .acting import App
from .providers import Running, running_app

APP = Path(__file__).parent.parent
TEMPLATE = "gigwork_template"


@pytest.fixture(scope="session")
def app_template(cluster_access: DatabaseAccess, template: DatabaseAccess) -> DatabaseAccess:  # noqa: F811
    with psycopg.connect(cluster_access.conninfo("supabase_admin"), autocommit=True) as connection:
        create_database(connection, TEMPLATE, template.dbname)
    access = cluster_access.with_dbname(TEMPLATE)
    migrate(access, without_seeds())
    return access


def without_seeds() -> Settings:
    settings = load_settings(APP, {})
    return replace(settings, db=replace(settings.db, seed=replace(settings.db.seed, enabled=False)))


@pytest.fixture
def access(app_template: DatabaseAccess, clone_database: CloneDatabase) -> Iterator[DatabaseAccess]:  # noqa: F811
    with clone_database(app_template.dbname) as cloned:
        yield cloned


@pytest.fixture
def app(access: DatabaseAccess) -> Iterator[App]:
    with opened(access) as app:
        yield app


@pytest.fixture(scope="module")
def shared_app(app_template: DatabaseAccess, clone_database: CloneDatabase) -> Iterator[App]:  # noqa: F811
    """For modules whose tests do not mind each other's people and gigs."""
    with clone_database(app_template.dbname) as access, opened(access) as app:
        yield app


@contextmanager
def opened(access: DatabaseAccess) -> Iterator[App]:
    with psycopg.connect(access.conninfo("postgres"), row_factory=dict_row, autocommit=True) as admin:
        app = App(access, admin)
        yield app
        app.close()


@pytest.fixture(scope="session")
def gigwork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The app at work, with seeds and a worker, once for all tests that need it."""
    project = copy_project(APP, tmp_path_factory.mktemp("gigwork") / "gigwork")
    with running_app(project) as running:
        yield running


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
