"""A database with a shop in it, and commands that find it by its address."""

from collections.abc import Iterator

import psycopg
import pytest

from basalt.postgres import DatabaseAccess, apply_bootstrap
from tests.project.shop import ADA, BOB, SHOP


@pytest.fixture
def shop(database: DatabaseAccess) -> Iterator[psycopg.Connection]:
    """Two people and what they left."""
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        for user, name in ((ADA, "ada"), (BOB, "bob")):
            connection.execute(
                "insert into auth.users (id, email, encrypted_password, raw_user_meta_data) "
                "values (%s, %s, 'bcrypt-hash', jsonb_build_object('name', %s::text))",
                [user, f"{name}@example.com", name],
            )
            connection.execute(
                "insert into auth.sessions (id, user_id) values (gen_random_uuid(), %s)", [user]
            )
            connection.execute(
                "insert into auth.audit_log_entries (id, payload, ip_address) values (gen_random_uuid(), "
                "json_build_object('actor_id', %s::text, 'actor_username', %s::text, 'action', 'login'), '10.0.0.1')",
                [user, f"{name}@example.com"],
            )
        connection.execute(SHOP.encode())
        yield connection


@pytest.fixture
def by_url(database: DatabaseAccess, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands find the database by its address. They give the service roles passwords of their own, which other tests
    do not know: they get the cluster's back."""
    monkeypatch.setenv("DATABASE_URL", database.url("supabase_admin"))
    yield
    apply_bootstrap(database)
