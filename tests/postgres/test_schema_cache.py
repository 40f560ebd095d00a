"""What the schema cache says of roles, and how it is loaded: by a role without any privilege."""

from collections.abc import Iterator

import psycopg
import pytest

from basalt.postgres import (
    RoleSettings,
    load_schema_cache,
)
from tests.postgres.schema_project import EXPOSED, Connection

pytestmark = pytest.mark.req("P5")


@pytest.fixture
def roles(schema_project: Connection) -> Iterator[Connection]:
    schema_project.execute("reset role")
    schema_project.execute("""
        create role cache_slow;
        create role cache_plain;
        create role cache_stranger;
        grant cache_slow, cache_plain to cache_login;
        alter role cache_slow set statement_timeout = '3s';
        alter role cache_slow set default_transaction_isolation = 'Serializable';
        alter role cache_slow set search_path = a, b;
        alter role cache_slow set log_min_messages = 'error';
        alter role cache_slow set log_temp_files = 10;
        alter role cache_stranger set statement_timeout = '9s';
        alter role cache_login set statement_timeout = '8s';
        grant set on parameter log_temp_files to cache_login;
        set role cache_login;
    """)
    yield schema_project
    schema_project.execute("""
        reset role;
        revoke set on parameter log_temp_files from cache_login;
        drop role cache_slow, cache_plain, cache_stranger;
        set role cache_login;
    """)


def test_roles_bring_the_settings_that_the_login_role_may_set(roles: Connection) -> None:
    assert load_schema_cache(roles, EXPOSED).role_settings == {
        "cache_slow": RoleSettings(
            (("statement_timeout", "3s"), ("search_path", "a, b"), ("log_temp_files", "10")), "serializable"
        )
    }


def test_schemas_that_do_not_exist_are_empty(schema_project: Connection) -> None:
    nothing = load_schema_cache(schema_project, ["nowhere"], ["elsewhere"])
    assert (nothing.tables, nothing.relationships, nothing.routines) == ({}, {}, {})


def test_loading_leaves_the_connection_as_it_was(schema_project: Connection) -> None:
    load_schema_cache(schema_project, EXPOSED)
    assert schema_project.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert schema_project.execute("show search_path").fetchone() != ('""',)
    assert schema_project.execute("show transaction_read_only").fetchone() == ("off",)
