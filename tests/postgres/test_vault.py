"""Vault in SQL: its contract, who may do what, and where the key and the secrets must not be found."""

import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from basalt.errors import BasaltError
from basalt.postgres import (
    DatabaseAccess,
    PrivateCluster,
    access_from_url,
    apply_bootstrap,
    ensure_vault_secrets,
    rotate_vault_key,
)
from tests.postgres.test_bootstrap import managed_url  # noqa: F401  a fixture

pytestmark = pytest.mark.req("P20")

Connection = psycopg.Connection[tuple[Any, ...]]
PLANTED = "planted-5f1c-s3cr3t"
READ_ONE = "select decrypted_secret from vault.decrypted_secrets where name = %s"
OWNERS_ONLY = (
    "select * from vault.read_keys()",
    "select vault.sealing_key(gen_random_uuid())",
    "select vault.current_key_id()",
    "select vault.seal(gen_random_uuid(), 'x', gen_random_uuid())",
    "select vault.pgp_sym_encrypt_bytea('x', 'y', '')",
    "select vault.pgp_sym_decrypt_bytea('x', 'y')",
    "select vault.reseal()",
    "insert into vault.secrets (secret) values ('x')",
    "update vault.secrets set secret = 'x'",
)
SERVER_FILES = (
    "select pg_read_file('../vault.key')",
    "select pg_read_binary_file('../vault.key')",
    "select pg_stat_file('../vault.key')",
    "select pg_ls_dir('..')",
    "select lo_import('../vault.key')",
    "copy (select 1) to '/tmp/out'",
    "copy vault.secrets from program 'cat ../vault.key'",
    "create temp table keys (line text); copy keys from '../vault.key'",
    "grant pg_read_server_files to postgres",
    "grant pg_write_server_files to postgres",
    "grant pg_execute_server_program to postgres",
    "create role reader in role pg_read_server_files",
    "alter system set log_statement = 'all'",
    "create extension file_fdw",
    "create extension adminpack",
    "create extension plpython3u",
    "create function pg_temp.read() returns text language c as '$libdir/pgcrypto', 'pg_random_bytes'",
)


@pytest.fixture
def owner(database: DatabaseAccess) -> Iterator[Connection]:
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def as_role(database: DatabaseAccess) -> Iterator[Callable[[str], Connection]]:
    """Connected as a superuser who has become another role."""
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:

        def become(role: str) -> Connection:
            connection.execute(sql.SQL("set session authorization {}").format(sql.Identifier(role)))
            return connection

        yield become


def value_of(connection: Connection, statement: str, *params: object) -> Any:
    row = connection.execute(statement.encode(), params).fetchone()
    assert row is not None
    return row[0]


def key_file(cluster: PrivateCluster) -> Path:
    return cluster.home / "vault.key"


def test_a_secret_goes_in_and_comes_out_of_the_view(owner: Connection) -> None:
    made = value_of(
        owner, "select vault.create_secret('another_s3kre3t', 'unique_name', 'This is the description')"
    )
    row = owner.execute("select * from vault.decrypted_secrets").fetchone()
    assert [column.name for column in owner.execute("select * from vault.secrets").description or ()] == [
        *("id", "name", "description", "secret", "key_id", "nonce", "created_at", "updated_at")
    ]
    assert row is not None
    assert row[:3] == (made, "unique_name", "This is the description")
    assert row[4] == "another_s3kre3t"
    assert "another_s3kre3t" not in row[3]


def test_the_examples_of_supabases_documentation_run(owner: Connection) -> None:
    first = value_of(owner, "select vault.create_secret('my_s3kre3t')")
    assert isinstance(first, uuid.UUID)
    value_of(owner, "select vault.create_secret('another_s3kre3t', 'unique_name', 'This is the description')")
    newest = owner.execute(
        "select * from vault.decrypted_secrets order by created_at desc limit 3"
    ).fetchall()
    assert {row[4] for row in newest} == {"my_s3kre3t", "another_s3kre3t"}
    owner.execute(
        "select vault.update_secret(%s, 'n3w_upd@ted_s3kret', 'updated_unique_name', 'The updated description')",
        [first],
    )
    changed = owner.execute("select * from vault.decrypted_secrets where id = %s", [first]).fetchone()
    assert changed is not None
    assert changed[1:3] == ("updated_unique_name", "The updated description")
    assert changed[4] == "n3w_upd@ted_s3kret"
    assert changed[8] > changed[7]


def test_arguments_go_by_name_and_what_is_null_stays(owner: Connection) -> None:
    made = value_of(
        owner,
        "select vault.create_secret(new_secret => 'a', new_name => 'n', new_key_id => gen_random_uuid())",
    )
    owner.execute("select vault.update_secret(secret_id => %s, new_description => 'why')", [made])
    owner.execute("select vault.update_secret(%s, new_name => 'm')", [made])
    owner.execute("select vault.update_secret(gen_random_uuid(), 'nobody')")
    rows = owner.execute("select name, description, decrypted_secret from vault.decrypted_secrets").fetchall()
    assert rows == [("m", "why", "a")]


def test_any_text_is_kept_as_it_is(owner: Connection) -> None:
    for text in ("", "ü🔑\n\t'\"\\", "x" * 100_000):
        made = value_of(owner, "select vault.create_secret(%s)", text)
        assert (
            value_of(owner, "select decrypted_secret from vault.decrypted_secrets where id = %s", made)
            == text
        )


def test_a_name_is_taken_once(owner: Connection) -> None:
    value_of(owner, "select vault.create_secret('a', 'mine')")
    with pytest.raises(psycopg.errors.UniqueViolation) as refused:
        owner.execute("select vault.create_secret('b', 'mine')")
    assert refused.value.diag.constraint_name == "secrets_name_idx"
    value_of(owner, "select vault.create_secret('c')")
    value_of(owner, "select vault.create_secret('d')")
    with pytest.raises(psycopg.errors.NotNullViolation):
        owner.execute("select vault.create_secret(null)")


def test_the_same_secret_looks_different_each_time(owner: Connection) -> None:
    value_of(owner, "select vault.create_secret('same')")
    value_of(owner, "select vault.create_secret('same')")
    sealed = {row[0] for row in owner.execute("select secret from vault.secrets").fetchall()}
    assert len(sealed) == 2


def test_a_secret_that_was_moved_or_changed_does_not_open(
    owner: Connection, as_role: Callable[[str], Connection]
) -> None:
    value_of(owner, "select vault.create_secret('rich', 'a')")
    value_of(owner, "select vault.create_secret('poor', 'b')")
    admin = as_role("supabase_admin")
    admin.execute(
        "update vault.secrets set secret = (select secret from vault.secrets where name = 'a') where name = 'b'"
    )
    with pytest.raises(psycopg.errors.DataCorrupted, match="was moved from another row"):
        owner.execute(READ_ONE, ["b"])
    admin.execute(
        "update vault.secrets set secret = encode(decode(secret, 'base64') || '\\x00', 'base64') where name = 'a'"
    )
    with pytest.raises(psycopg.errors.ExternalRoutineInvocationException):
        owner.execute(READ_ONE, ["a"])


def test_secrets_are_deleted_by_their_rows(owner: Connection) -> None:
    value_of(owner, "select vault.create_secret('x', 'gone')")
    assert owner.execute("delete from vault.secrets where name = 'gone'").rowcount == 1
    value_of(owner, "select vault.create_secret('y', 'gone')")
    owner.execute("create table public.holders (secret_id uuid references vault.secrets)")
    owner.execute("insert into public.holders select id from vault.secrets")


def test_roles_of_the_api_see_nothing(owner: Connection, as_role: Callable[[str], Connection]) -> None:
    value_of(owner, "select vault.create_secret('x', 'hidden')")
    refused = (
        "select vault.create_secret('x')",
        "select vault.update_secret(gen_random_uuid(), 'x')",
        "select * from vault.decrypted_secrets",
        "delete from vault.secrets",
        "truncate vault.secrets",
        *OWNERS_ONLY,
    )
    for role in ("anon", "authenticated", "authenticator", "supabase_auth_admin", "supabase_read_only_user"):
        connection = as_role(role)
        for statement in refused:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
        connection.execute("reset session authorization")


@pytest.mark.req("M8")
def test_the_service_role_manages_secrets_and_nothing_of_the_sealing(
    as_role: Callable[[str], Connection],
) -> None:
    connection = as_role("service_role")
    made = value_of(connection, "select vault.create_secret('x', 'ours')")
    connection.execute("select vault.update_secret(%s, 'y')", [made])
    assert value_of(connection, READ_ONE, "ours") == "y"
    for statement in (
        *OWNERS_ONLY,
        "select * from vault.sealing_keys",
        "select * from basalt.secrets",
        *SERVER_FILES,
    ):
        with pytest.raises(psycopg.Error) as refused:
            connection.execute(statement.encode())
        assert refused.value.sqlstate in ("42501", "0A000", "58P01"), statement
    assert connection.execute("delete from vault.secrets").rowcount == 1


def test_the_key_cannot_be_read_by_sql(owner: Connection) -> None:
    """Not even by `postgres`, who owns the database and may create roles."""
    for statement in (*OWNERS_ONLY, *SERVER_FILES):
        with pytest.raises(psycopg.Error) as refused:
            owner.execute(statement.encode())
        assert refused.value.sqlstate in ("42501", "0A000", "58P01", "42939"), statement


def test_no_plan_and_no_setting_shows_the_key(owner: Connection, cluster: PrivateCluster) -> None:
    told: list[str] = []
    owner.add_notice_handler(
        lambda message: told.append(f"{message.message_primary} {message.message_detail}")
    )
    for name in ("debug_print_parse", "debug_print_rewritten", "debug_print_plan"):
        owner.execute(sql.SQL("set {} = on").format(sql.Identifier(name)))
    owner.execute("set client_min_messages = log")
    value_of(owner, "select vault.create_secret(%s)", PLANTED)
    owner.execute("select decrypted_secret from vault.decrypted_secrets").fetchall()
    settings = str(owner.execute("select name, setting from pg_settings").fetchall())
    in_plans = bytes(int(number) & 255 for number in re.findall(r" (-?\d{1,3})(?= )", " ".join(told)))
    assert PLANTED.encode() in in_plans  # the plans do show constants
    for line in key_file(cluster).read_text().splitlines():
        key = line.split()[1]
        assert key.encode() not in in_plans
        assert key not in settings + " ".join(told)


def test_a_type_of_the_callers_own_gains_nothing(owner: Connection) -> None:
    """`pg_temp` comes first for types unless the path says otherwise: a domain would run its check as superuser."""
    owner.execute(
        "create function pg_temp.who(anyelement) returns boolean language plpgsql as $$ "
        "begin raise exception 'reached as %', current_user; end $$"
    )
    for name in ("text", "uuid", "bytea", "int8", "jsonb"):
        kind = sql.Identifier(name)
        owner.execute(
            sql.SQL("create domain pg_temp.{0} as pg_catalog.{0} check (pg_temp.who(value))").format(kind)
        )
    made = value_of(owner, "select vault.create_secret('x'::pg_catalog.text, 'typed'::pg_catalog.text)")
    owner.execute("select vault.update_secret(%s, 'y'::pg_catalog.text)", [made])
    assert value_of(owner, "select decrypted_secret from vault.decrypted_secrets") == "y"


def test_no_routine_with_a_superusers_rights_searches_the_callers_schemas(owner: Connection) -> None:
    found = owner.execute("""
        select p.oid::regprocedure::text, p.proconfig
        from pg_catalog.pg_proc as p
        join pg_catalog.pg_roles as r on r.oid = p.proowner
        where p.prosecdef and r.rolsuper
            and p.proconfig is distinct from '{"search_path=pg_catalog, pg_temp"}'
    """).fetchall()
    assert found == []


def test_security_definer_functions_use_secrets_for_others(
    owner: Connection, as_role: Callable[[str], Connection]
) -> None:
    value_of(owner, "select vault.create_secret('sk_live', 'stripe')")
    owner.execute("""
        create function public.charge() returns text language sql security definer set search_path = '' as
        $$ select length(decrypted_secret)::text from vault.decrypted_secrets where name = 'stripe' $$
    """)
    assert value_of(as_role("authenticated"), "select public.charge()") == "7"


def test_a_dump_and_the_data_directory_hold_no_value_and_no_key(
    owner: Connection, database: DatabaseAccess, cluster: PrivateCluster
) -> None:
    value_of(owner, "select vault.create_secret(%s, 'dumped')", PLANTED)
    dump = subprocess.run(
        ["pg_dump", "--dbname", database.url("supabase_admin")], capture_output=True, text=True, check=True
    ).stdout
    assert "COPY vault.secrets" in dump
    assert "dumped" in dump
    owner_of_all = psycopg.connect(database.conninfo("supabase_admin"), autocommit=True)
    with owner_of_all:
        owner_of_all.execute("checkpoint")
    key = key_file(cluster).read_text().split()[1]
    assert PLANTED not in dump
    assert key not in dump
    for path in cluster.data_dir.rglob("*"):
        if path.is_file() and path.stat().st_size < 64 * 1024 * 1024:
            content = path.read_bytes()
            assert PLANTED.encode() not in content, path
            assert key.encode() not in content, path


def test_the_key_belongs_to_postgresqls_user_alone(cluster: PrivateCluster) -> None:
    assert key_file(cluster).stat().st_mode & 0o777 == 0o600
    assert not key_file(cluster).is_relative_to(cluster.data_dir)


def test_a_statement_that_fails_is_not_logged(owner: Connection, cluster: PrivateCluster) -> None:
    start = cluster.log_file.stat().st_size
    for statement in (
        f"select vault.create_secret('{PLANTED}', null, null)",
        f"select vault.create_secrets('{PLANTED}')",
        f"do $$ begin execute 'select vault.create_secret(''{PLANTED}'', null, null)'; end $$",
        f"select 1 / 0, '{PLANTED}'",
    ):
        with pytest.raises(psycopg.Error):
            owner.execute(statement.encode())
    with pytest.raises(psycopg.Error):
        owner.execute("select vault.create_secret(%s, null, null)", [PLANTED])
    logged = cluster.log_file.read_bytes()[start:].decode()
    assert "division by zero" in logged
    assert PLANTED not in logged


def test_a_rotation_seals_everything_anew_and_the_old_key_is_not_needed(
    owner: Connection, database: DatabaseAccess, cluster: PrivateCluster
) -> None:
    for number in range(5):
        value_of(owner, "select vault.create_secret(%s, %s)", f"value {number}", f"s{number}")
    before = owner.execute("select id, secret, updated_at from vault.secrets order by id").fetchall()
    assert rotate_vault_key(database, cluster.state_dir) == 5
    after = owner.execute("select id, secret, updated_at from vault.secrets order by id").fetchall()
    assert [(row[0], row[2]) for row in before] == [(row[0], row[2]) for row in after]
    assert not {row[1] for row in before} & {row[1] for row in after}
    kept = key_file(cluster).read_text()
    first, *older = kept.splitlines()
    assert older
    with key_file(cluster).open("r+") as file:  # the same file, the same owner
        file.write(first + "\n")
        file.truncate()
    try:
        assert value_of(owner, READ_ONE, "s3") == "value 3"
    finally:
        key_file(cluster).write_text(kept)
    assert key_file(cluster).stat().st_mode & 0o777 == 0o600


def test_another_servers_key_is_asked_for_by_its_id(owner: Connection, cluster: PrivateCluster) -> None:
    value_of(owner, "select vault.create_secret('x', 'far')")
    key_id = value_of(owner, "select key_id from vault.secrets")
    kept = key_file(cluster).read_text()
    key_file(cluster).write_text(f"{uuid.uuid4()} {'A' * 43}=\n")
    try:
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=f"sealed with key {key_id}"):
            owner.execute(READ_ONE, ["far"])
        key_file(cluster).write_text("")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="no key to seal"):
            owner.execute("select vault.create_secret('x')")
    finally:
        key_file(cluster).write_text(kept)
    assert value_of(owner, READ_ONE, "far") == "x"


def test_secrets_of_the_settings_are_made_and_kept_up_to_date(
    owner: Connection, database: DatabaseAccess
) -> None:
    value_of(owner, "select vault.create_secret('mine', 'by_hand')")
    assert ensure_vault_secrets(database, {}) == []
    assert ensure_vault_secrets(database, {"stripe": "one", "mail": "two"}) == ["stripe", "mail"]
    assert ensure_vault_secrets(database, {"stripe": "one", "mail": "three"}) == ["mail"]
    rows = owner.execute(
        "select name, decrypted_secret from vault.decrypted_secrets order by name"
    ).fetchall()
    assert rows == [("by_hand", "mine"), ("mail", "three"), ("stripe", "one")]


def test_what_cannot_be_stored_is_one_sentence_without_the_value(database: DatabaseAccess) -> None:
    with pytest.raises(BasaltError, match=r"\[db\.vault\] cannot be stored") as refused:
        ensure_vault_secrets(database.with_dbname("template1"), {"stripe": PLANTED})
    assert PLANTED not in str(refused.value)


def test_a_managed_server_keeps_its_key_where_only_the_owner_reads(managed_url: str, tmp_path: Path) -> None:  # noqa: F811
    access = access_from_url(managed_url, tmp_path)
    apply_bootstrap(access)
    apply_bootstrap(access)
    with psycopg.connect(access.conninfo("postgres"), autocommit=True) as connection:
        value_of(connection, "select vault.create_secret('x', 'a')")
        assert value_of(connection, READ_ONE, "a") == "x"
        assert value_of(connection, "select count(*) from vault.sealing_keys") == 1
        assert rotate_vault_key(access, tmp_path) == 1
        assert value_of(connection, READ_ONE, "a") == "x"
        assert ensure_vault_secrets(access, {"a": "y"}) == ["a"]
        connection.execute("set role service_role")
        assert value_of(connection, READ_ONE, "a") == "y"
        for statement in ("select * from vault.sealing_keys", *OWNERS_ONLY):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
        connection.execute("reset role; drop extension pgcrypto cascade")
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="needs the extension pgcrypto"):
            connection.execute("select vault.create_secret('z')")
