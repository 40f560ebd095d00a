"""One database for a file; each test has flags of its own names."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from typing import Any

import orjson
import psycopg
import pytest

from basalt.postgres import DatabaseAccess
from tests.conftest import CloneDatabase

numbers = count(1)
As = Callable[..., AbstractContextManager[psycopg.Connection]]


@pytest.fixture(scope="module")
def flag_database(template: DatabaseAccess, clone_database: CloneDatabase) -> Iterator[DatabaseAccess]:
    with clone_database(template.dbname) as access:
        yield access


@pytest.fixture
def admin(flag_database: DatabaseAccess) -> Iterator[psycopg.Connection]:
    with psycopg.connect(flag_database.conninfo("supabase_admin"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def acting(flag_database: DatabaseAccess) -> As:
    """`with acting("authenticated", sub="…") as connection: …` is one request."""

    @contextmanager
    def act(role: str, *, headers: Any = None, **claims: Any) -> Iterator[psycopg.Connection]:
        settings = {
            "role": role,
            "request.jwt.claims": orjson.dumps({"role": role, **claims}).decode(),
            "request.headers": orjson.dumps(headers or {}).decode(),
        }
        with psycopg.connect(flag_database.conninfo("authenticator")) as connection:
            for name, value in settings.items():
                connection.execute("select set_config(%s, %s, true)", [name, value])
            yield connection

    return act


@pytest.fixture
def flag() -> str:
    return f"flag_{next(numbers)}"


def value_of(connection: psycopg.Connection, query: str, parameters: Any = None) -> Any:
    row = connection.execute(query.encode(), parameters).fetchone()
    assert row is not None
    return row[0]
