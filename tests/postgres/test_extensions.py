"""What becomes of `create extension`, and which server is taken."""

import pytest

from basalt.postgres import InstallError, debian_package, extension_policy, find_postgres

pytestmark = pytest.mark.req("P3")


@pytest.mark.parametrize(
    ("name", "available", "policy"),
    [
        ("postgis", {"postgis"}, "create"),
        ("pg_net", {"pg_net"}, "create"),
        ("pg_net", set(), "provided"),
        ("supabase_vault", set(), "provided"),
        ("pg_stat_statements", {"pg_stat_statements"}, "create"),
        ("pg_stat_statements", set(), "skip"),
        ("hypopg", set(), "skip"),
        ("index_advisor", set(), "skip"),
        ("pgaudit", set(), "skip"),
        ("vector", set(), "missing"),
        ("timescaledb", set(), "missing"),
        ("no_such_thing", set(), "missing"),
    ],
)
def test_each_extension_is_created_provided_skipped_or_missing(
    name: str, available: set[str], policy: str
) -> None:
    assert extension_policy(name, available) == policy


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("postgis", "postgresql-15-postgis-3"),
        ("postgis_topology", "postgresql-15-postgis-3"),
        ("vector", "postgresql-15-pgvector"),
        ("pgtap", "postgresql-15-pgtap"),
        ("plpython3u", "postgresql-plpython3-15"),
        ("hstore", "postgresql-15"),
        ("no_such_thing", None),
    ],
)
def test_the_package_to_install_is_named(name: str, package: str | None) -> None:
    assert debian_package(name, 15) == package


def test_a_server_without_a_wanted_extension_is_an_error_that_says_what_to_install() -> None:
    with pytest.raises(InstallError, match=r"the extension rum\. .*apt-get install postgresql-\d+-rum"):
        find_postgres(["plpgsql", "pg_net", "hypopg", "rum"])


def test_a_version_that_is_not_installed_is_an_error_that_says_so() -> None:
    with pytest.raises(InstallError, match="PostgreSQL 99 is not installed here"):
        find_postgres(major=99)
