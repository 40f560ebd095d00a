"""`pgrst.…` settings of the login role and of a function, from a real database."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from basalt.config import RestSettings, override_rest_settings
from basalt.postgres import DatabaseAccess
from basalt.rest.database_settings import load_database_settings

pytestmark = pytest.mark.req("P5")

Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def role(database: DatabaseAccess) -> Iterator[str]:
    """A login role of this test's own: roles belong to the whole cluster."""
    name = f"configured {database.dbname}"
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as admin:
        admin.execute(sql.SQL("create role {} login").format(sql.Identifier(name)))
        yield name
        admin.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(name)))


@pytest.fixture
def admin(database: DatabaseAccess) -> Iterator[Connection]:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        yield connection


def alter_role(admin: Connection, role: str, dbname: str | None = None, **pairs: str) -> None:
    where = sql.SQL(" in database {}").format(sql.Identifier(dbname)) if dbname else sql.SQL("")
    for name, text in pairs.items():
        admin.execute(
            sql.SQL("alter role {}{} set {} = {}").format(
                sql.Identifier(role), where, sql.Identifier("pgrst", name), sql.Literal(text)
            )
        )


def load(admin: Connection, role: str, settings: RestSettings) -> dict[str, str]:
    """As the role: where the tests log in by password or not is no matter here."""
    admin.execute(sql.SQL("set session authorization {}").format(sql.Identifier(role)))
    try:
        return load_database_settings(admin, settings)
    finally:
        admin.execute("reset session authorization")


def test_a_role_without_settings_has_none(admin: Connection, role: str) -> None:
    assert load(admin, role, RestSettings()) == {}


def test_the_roles_settings_in_this_database_win_over_those_for_all(
    admin: Connection, role: str, database: DatabaseAccess
) -> None:
    alter_role(admin, role, db_schemas="a, b", db_max_rows="1", jwt_secret="x=y=z", not_existing="ignored")
    alter_role(admin, role, database.dbname, db_max_rows="2", db_anon_role="it's")
    alter_role(admin, role, "postgres", db_max_rows="3", db_plan_enabled="true")
    admin.execute("alter role postgres set pgrst.db_tx_end = 'rollback'")
    admin.execute(
        sql.SQL("alter database {} set pgrst.openapi_mode = 'disabled'").format(
            sql.Identifier(database.dbname)
        )
    )
    try:
        found = load(admin, role, RestSettings())
    finally:
        admin.execute("alter role postgres reset pgrst.db_tx_end")
    assert found == {"db_schemas": "a, b", "db_max_rows": "2", "jwt_secret": "x=y=z", "db_anon_role": "it's"}
    assert override_rest_settings(RestSettings(), {**found, "jwt_secret": ""}).db_schemas == ("a", "b")


FUNCTION = """
create schema "my config";
grant usage on schema "my config" to public;
create function "my config".settings() returns void language sql as $$
    select set_config('pgrst.db_schemas', 'from the function', true),
        set_config('pgrst.jwt_aud', current_user, true),
        set_config('pgrst.db_extra_search_path', '', true),
        set_config('pgrst.log_level', 'ignored', true)
$$;
create table public.witness (id int);
grant all on public.witness to public;
create function public.writes() returns void language sql as $$ insert into public.witness values (1) $$;
"""


def test_a_function_may_set_what_the_role_does_not(admin: Connection, role: str) -> None:
    admin.execute(FUNCTION)
    alter_role(admin, role, db_schemas="from the role")
    found = load(admin, role, RestSettings(db_pre_config="my config.settings"))
    assert found == {"db_schemas": "from the role", "jwt_aud": role, "db_extra_search_path": ""}
    assert admin.execute("select current_setting('pgrst.jwt_aud', true)").fetchone() == ("",)


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("select", psycopg.errors.UndefinedFunction),
        ("nowhere.settings", psycopg.errors.InvalidSchemaName),
        ("public.writes", psycopg.errors.ReadOnlySqlTransaction),
        ("pg_sleep(9); --", psycopg.errors.UndefinedFunction),
    ],
)
def test_a_bad_function_is_an_error_that_leaves_the_connection_usable(
    admin: Connection, role: str, function: str, error: type[psycopg.Error]
) -> None:
    admin.execute(FUNCTION)
    with pytest.raises(error):
        load(admin, role, RestSettings(db_pre_config=function))
    assert load(admin, role, RestSettings()) == {}
