"""The bootstrap run twice, upgraded, and on a server whose owner is no superuser."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess, access_from_url, apply_bootstrap, find_postgres
from basalt.postgres.bootstrap import bootstrap_files
from basalt.postgres.os_user import server_user

FINGERPRINT = """
select md5(string_agg(line, e'\\n' order by line)) from (
    select format('%s %s %s %s', 'class', c.oid, c.xmin, c.relacl) from pg_class as c
    where c.relnamespace::regnamespace::text not like 'pg_%'
    union all select format('%s %s %s', 'routine', p.oid, p.xmin) from pg_proc as p
        where p.pronamespace::regnamespace::text not like 'pg_temp%'
    union all select format('%s %s %s', 'role', r.oid, r.xmin) from pg_authid as r
    union all select format('%s %s %s', 'member', m.roleid, m.xmin) from pg_auth_members as m
    union all select format('%s %s %s', 'schema', n.oid, n.xmin) from pg_namespace as n
        where nspname not like 'pg_%'
    union all select format('%s %s %s', 'setting', s.setconfig, s.xmin) from pg_db_role_setting as s
    union all select format('%s %s', 'version', v) from basalt.bootstrap_versions as v
) as t (line)
"""


@pytest.mark.req("P2")
def test_a_second_run_changes_nothing(database: DatabaseAccess) -> None:
    apply_bootstrap(database)  # sets the search path of the copy, which does not come along
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        before = connection.execute(FINGERPRINT).fetchone()
        assert apply_bootstrap(database).applied == []
        assert connection.execute(FINGERPRINT).fetchone() == before


@pytest.mark.req("P2")
def test_a_routine_is_applied_again_when_its_text_has_changed(database: DatabaseAccess) -> None:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute(
            "create or replace function auth.role() returns text language sql stable as $$ select 'old' $$;"
            "update basalt.bootstrap_versions set sha256 = 'older' where name = 'auth/routines/claims.sql'"
        )
        assert apply_bootstrap(database).applied == ["auth/routines/claims.sql"]
        assert connection.execute("select auth.role()").fetchone() == (None,)


@pytest.mark.req("P2")
def test_routines_of_a_created_extension_follow_an_upgrade(database: DatabaseAccess) -> None:
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("create extension pg_net")
        routines = ["pg_net/routines/requests.sql", "pg_net/routines/responses.sql"]
        assert apply_bootstrap(database).applied == routines
        assert apply_bootstrap(database).applied == []
        connection.execute("drop extension pg_net")


@pytest.mark.req("P2")
def test_a_failing_file_leaves_nothing(empty_database: DatabaseAccess) -> None:
    with psycopg.connect(empty_database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute("create schema auth; create table auth.users (something_else int)")
        with pytest.raises(BasaltError, match=r"auth/021_users\.sql"):
            apply_bootstrap(empty_database)
        assert connection.execute("select to_regnamespace('storage')").fetchone() == (None,)


def test_every_number_is_used_once() -> None:
    numbers = [Path(file.name).name[:3] for file in bootstrap_files() if not file.is_routine]
    assert sorted(set(numbers)) == numbers


@pytest.mark.req("P2")
class TestAccessFromUrl:
    def test_every_node_comes_to_the_same_passwords(self, tmp_path: Path) -> None:
        url = "postgresql://owner:p%40ss@db.example.com:6543/app?sslmode=require"
        access = access_from_url(url, tmp_path)
        assert access_from_url(url, tmp_path / "other").passwords == access.passwords
        assert access.url("postgres") == access.url("supabase_admin") == url
        assert access.login("authenticator") == "authenticator"
        assert access.passwords["authenticator"] not in ("p@ss", access.passwords["supabase_auth_admin"])
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "url", ["mysql://x", "postgresql:///app", "postgresql://u@/x", "postgresql://u@h,i/x"]
    )
    def test_what_names_no_server_is_refused(self, url: str, tmp_path: Path) -> None:
        with pytest.raises(BasaltError, match="database URL"):
            access_from_url(url, tmp_path)


@pytest.fixture(scope="module")
def managed_url() -> Iterator[str]:
    """A stock server, not ours; the project's owner may create roles and databases and no more."""
    folder, user, install = Path(tempfile.mkdtemp(prefix="basalt-managed-")), server_user(), find_postgres()
    user.own(folder, 0o700)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = [
        "--auth-local=trust",
        "--auth-host=scram-sha-256",
        "--no-sync",
        "--encoding=UTF8",
        "--locale=C",
    ]
    subprocess.run(
        [install.bin_dir / "initdb", "-D", folder / "data", "-U", "rds", *options],
        **user.run_as(),
        cwd="/",
        check=True,
        capture_output=True,
    )
    server = subprocess.Popen(
        [
            install.bin_dir / "postgres",
            "-D",
            folder / "data",
            "-p",
            str(port),
            "-k",
            folder,
            "-c",
            "fsync=off",
        ],
        **user.run_as(),
        cwd="/",
        stderr=subprocess.DEVNULL,
    )
    try:
        with wait_for(host=str(folder), port=port, user="rds", dbname="postgres") as connection:
            connection.execute("create role owner login createrole createdb password 'p@ss'")
            connection.execute("create database app owner owner")
        yield f"postgresql://owner:p%40ss@127.0.0.1:{port}/app"
    finally:
        server.terminate()
        server.wait(timeout=30)
        shutil.rmtree(folder)


def wait_for(**conninfo: Any) -> psycopg.Connection[tuple[Any, ...]]:
    deadline = time.monotonic() + 30
    while True:
        try:
            return psycopg.connect(**conninfo, autocommit=True)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@pytest.mark.req("P2")
def test_a_managed_server_gets_the_contract_without_superuser(managed_url: str, tmp_path: Path) -> None:
    access = access_from_url(managed_url, tmp_path)
    report = apply_bootstrap(access)
    assert "auth/021_users.sql" in report.applied
    assert all(
        "superuser" in why or "permission" in why or "not available" in why for _, why in report.refused
    )
    assert apply_bootstrap(access).applied == []

    for role in ("authenticator", "supabase_auth_admin", "supabase_storage_admin"):
        with psycopg.connect(access.conninfo(role)) as connection:
            assert connection.execute("select current_user").fetchone() == (role,)

    with psycopg.connect(access.conninfo("postgres")) as connection:
        connection.execute(
            """
            create table public.profiles (id uuid primary key);
            alter table public.profiles enable row level security;
            create function public.handle() returns trigger language plpgsql security definer
                set search_path = ''
                as $$ begin insert into public.profiles values (new.id); return new; end $$;
            create trigger on_auth_user_created after insert on auth.users
                for each row execute function public.handle();
            insert into storage.buckets (id, name) values ('avatars', 'avatars');
            create policy p on storage.objects for select using (bucket_id = 'avatars');
            insert into auth.users (id, email, encrypted_password)
                values (gen_random_uuid(), 'a@example.com', crypt('secret', gen_salt('bf')));
            alter publication supabase_realtime add table public.profiles;
            select basalt.ensure_service_policies();
            select realtime.send('{}', 'e', 't');
            """
        )
    with psycopg.connect(access.conninfo("authenticator")) as connection:
        connection.execute("set local role service_role")
        assert connection.execute("select count(*) from public.profiles").fetchone() == (1,)
        connection.execute("set local role anon")
        assert connection.execute("select count(*) from public.profiles").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from auth.users")


@pytest.mark.req("P2")
def test_a_managed_server_has_the_objects_of_basalts_extensions(managed_url: str, tmp_path: Path) -> None:
    access = access_from_url(managed_url, tmp_path)
    apply_bootstrap(access)
    with psycopg.connect(access.conninfo("postgres"), autocommit=True) as connection:
        token = connection.execute("select sign('{\"sub\": \"1\"}', 'secret')").fetchone()
        assert token is not None
        valid = connection.execute("select valid from verify(%s, 'secret')", token).fetchone()
        assert valid == (True,)
        connection.execute("select cron.schedule('n', '* * * * *', 'select 1')")
        connection.execute("select net.http_get('http://localhost')")
        assert connection.execute("select url from net.http_request_queue").fetchall() == [
            ("http://localhost",)
        ]
        assert connection.execute("select * from vault.decrypted_secrets").fetchall() == []
