"""The database contract of a Supabase project, seen by the roles that use it."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.errors import (
    InsufficientPrivilege,
    QueryCanceled,
    RaiseException,
    UniqueViolation,
)

from basalt.postgres import DatabaseAccess

pytestmark = pytest.mark.req("P3")

Connection = psycopg.Connection[tuple[Any, ...]]
Connect = Callable[[str], Connection]


@pytest.fixture
def connect(database: DatabaseAccess) -> Iterator[Connect]:
    """`connect("postgres")`: a session that commits each statement."""
    sessions: list[Connection] = []

    def run(role: str) -> Connection:
        sessions.append(psycopg.connect(database.conninfo(role), autocommit=True))
        return sessions[-1]

    yield run
    for session in sessions:
        session.close()


@pytest.fixture
def owner(connect: Connect) -> Connection:
    """Role `postgres`, as a project's migrations run."""
    return connect("postgres")


def one(connection: Connection, query: str, *params: Any) -> Any:
    row = connection.execute(query.encode(), params or None).fetchone()
    assert row is not None
    return row[0]


def request_as(connect: Connect, role: str, **claims: Any) -> Connection:
    """A session as a request has it: logged in as authenticator, then the role and the claims."""
    session = connect("authenticator")
    session.execute("select set_config('role', %s, false)", [role])
    claims_json = json.dumps({"role": role, **claims})
    session.execute("select set_config('request.jwt.claims', %s, false)", [claims_json])
    return session


def a_user(connection: Connection, email: str = "amina@example.com") -> str:
    """A user as seeds insert one: columns that matter, a bcrypt password, no identity, null tokens."""
    return str(
        one(
            connection,
            "insert into auth.users (id, aud, role, email, encrypted_password, email_confirmed_at) "
            "values (gen_random_uuid(), 'authenticated', 'authenticated', %s, "
            "crypt('secret', gen_salt('bf')), now()) returning id",
            email,
        )
    )


ATTRIBUTES = {
    # role: superuser, inherit, createrole, createdb, login, replication, bypassrls
    "anon": "ftfffff",
    "authenticated": "ftfffff",
    "service_role": "ftfffft",
    "authenticator": "fffftff",
    "postgres": "ftttttt",
    "supabase_admin": "ttttttt",
    "supabase_auth_admin": "fftftff",
    "supabase_storage_admin": "fftftff",
    "supabase_functions_admin": "fftftff",
    "supabase_realtime_admin": "fffffff",
    "supabase_replication_admin": "ftffttf",
    "supabase_read_only_user": "ftfftft",
    "dashboard_user": "ftttftf",
    "pgbouncer": "ftfftff",
}


@pytest.mark.parametrize("role", ATTRIBUTES)
def test_roles_have_the_attributes_of_a_supabase_project(owner: Connection, role: str) -> None:
    row = owner.execute(
        "select rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls "
        "from pg_roles where rolname = %s",
        [role],
    ).fetchone()
    assert row is not None
    assert "".join("t" if flag else "f" for flag in row) == ATTRIBUTES[role]


@pytest.mark.parametrize(
    ("role", "settings"),
    [
        ("anon", {"statement_timeout=3s"}),
        ("authenticated", {"statement_timeout=8s"}),
        ("authenticator", {"statement_timeout=8s", "lock_timeout=8s"}),
        ("supabase_auth_admin", {"search_path=auth", "idle_in_transaction_session_timeout=60s"}),
        ("supabase_storage_admin", {"search_path=storage"}),
        ("postgres", {'search_path="$user", public, extensions'}),
    ],
)
def test_roles_start_with_the_settings_of_a_supabase_project(
    owner: Connection, role: str, settings: set[str]
) -> None:
    assert set(one(owner, "select rolconfig from pg_roles where rolname = %s", role)) == settings


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_a_request_can_take_each_role_and_no_other(connect: Connect, role: str) -> None:
    assert one(request_as(connect, role), "select current_user") == role
    with pytest.raises(InsufficientPrivilege):
        request_as(connect, "postgres")
    with pytest.raises(InsufficientPrivilege):
        request_as(connect, "supabase_auth_admin")


def test_the_schemas_are_there(owner: Connection) -> None:
    schemas = {name for (name,) in owner.execute("select nspname from pg_namespace").fetchall()}
    assert schemas >= {
        *(
            "auth",
            "storage",
            "realtime",
            "_realtime",
            "extensions",
            "cron",
            "net",
            "vault",
            "pgsodium",
            "pgmq",
        ),
        *("pgmq_public", "graphql", "graphql_public", "supabase_functions", "supabase_migrations", "basalt"),
    }


def test_extensions_is_on_the_search_path_of_every_role(connect: Connect) -> None:
    for session in (connect("postgres"), request_as(connect, "anon")):
        assert "extensions" in one(session, "show search_path")
        assert one(
            session, "select uuid_generate_v4() is not null and crypt('a', gen_salt('bf')) is not null"
        )


def test_what_postgres_creates_in_public_belongs_to_the_api(owner: Connection, connect: Connect) -> None:
    owner.execute(
        "create table public.notes (id bigint generated always as identity, body text);"
        "create sequence public.numbers;"
        "create function public.answer() returns int language sql as 'select 42'"
    )
    for role in ("anon", "authenticated", "service_role"):
        session = request_as(connect, role)
        session.execute("insert into public.notes (body) values ('x')")
        assert one(session, "select public.answer() + nextval('public.numbers')") > 42


def test_what_the_superuser_creates_in_public_belongs_to_the_api_too(connect: Connect) -> None:
    connect("supabase_admin").execute("create table public.made_by_admin (id int)")
    assert one(request_as(connect, "anon"), "select count(*) from public.made_by_admin") == 0


def test_postgres_may_hang_a_trigger_on_the_users(owner: Connection, connect: Connect) -> None:
    owner.execute(
        """
        create table public.profiles (id uuid primary key references auth.users on delete cascade, name text);
        create function public.handle_new_user() returns trigger language plpgsql security definer
        set search_path = '' as $$
        begin
            insert into public.profiles (id, name) values (new.id, new.raw_user_meta_data ->> 'name');
            return new;
        end $$;
        create trigger on_auth_user_created after insert on auth.users
            for each row execute procedure public.handle_new_user();
        """
    )
    service = connect("supabase_auth_admin")
    service.execute(
        'insert into auth.users (id, raw_user_meta_data) values (gen_random_uuid(), \'{"name": "Amina"}\')'
    )
    assert one(owner, "select name from public.profiles") == "Amina"


def test_a_seeded_user_needs_no_identity_and_no_tokens(owner: Connection) -> None:
    user = a_user(owner)
    row = owner.execute(
        "select encrypted_password = crypt('secret', encrypted_password), confirmed_at is not null, "
        "confirmation_token, is_anonymous from auth.users where id = %s",
        [user],
    ).fetchone()
    assert row == (True, True, None, False)


def test_an_address_belongs_to_one_account(owner: Connection) -> None:
    a_user(owner)
    with pytest.raises(UniqueViolation):
        a_user(owner)


def test_postgres_may_make_buckets_and_policies_on_objects(owner: Connection, connect: Connect) -> None:
    owner.execute(
        """
        insert into storage.buckets (id, name, public) values ('avatars', 'avatars', true);
        create policy "owners upload to their folder" on storage.objects for insert to authenticated
            with check (bucket_id = 'avatars' and (storage.foldername(name))[1] = (select auth.uid())::text);
        create policy "everyone sees avatars" on storage.objects for select using (bucket_id = 'avatars');
        alter table storage.objects enable row level security;
        """
    )
    user = str(uuid4())
    session = request_as(connect, "authenticated", sub=user)
    session.execute(
        "insert into storage.objects (bucket_id, name) values ('avatars', %s)", [f"{user}/me.png"]
    )
    with pytest.raises(InsufficientPrivilege, match="row-level security"):
        session.execute("insert into storage.objects (bucket_id, name) values ('avatars', 'other/me.png')")
    assert one(request_as(connect, "anon"), "select count(*) from storage.objects") == 1


def test_rows_of_storage_go_with_their_files(owner: Connection) -> None:
    with pytest.raises(InsufficientPrivilege, match="Use the Storage API instead"):
        owner.execute("delete from storage.objects")
    owner.execute("set storage.allow_delete_query = 'true'; delete from storage.objects")


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ("storage.foldername('a/b/c.txt')", ["a", "b"]),
        ("storage.foldername('c.txt')", []),
        ("storage.filename('a/b/c.txt')", "c.txt"),
        ("storage.extension('a/b/c.tar.gz')", "gz"),
        ("storage.extension('a.b/plain')", "plain"),
    ],
)
def test_names_of_objects_are_taken_apart(owner: Connection, call: str, result: object) -> None:
    assert one(owner, f"select {call}") == result


@pytest.mark.parametrize(
    ("call", "names"),
    [
        ("list_objects_with_delimiter('b', '', '/')", ["A", "a", "a!", "a", "d%", "di_x", "dir", "z"]),
        ("list_objects_with_delimiter('b', '', '/', 3)", ["A", "a", "a!"]),
        ("list_objects_with_delimiter('b', '', '/', 9, '', 'a!')", ["a", "d%", "di_x", "dir", "z"]),
        ("list_objects_with_delimiter('b', '', '/', 9, '', 'a/')", ["d%", "di_x", "dir", "z"]),
        ("list_objects_with_delimiter('b', 'di_', '/')", ["di_x"]),
        ("list_objects_with_delimiter('b', '', '/', 2, '', '', 'desc')", ["z", "dir"]),
        ("search('dir/', 'b')", ["1", "Up", "sub"]),
        ("search('dir/', 'b', 100, 2, 0, 'u')", ["Up"]),
        ("search('', 'b', 2, 1, 1, '', 'name', 'desc')", ["dir", "di_x"]),
        ("search('nothing/', 'b')", []),
        ("search_v2('dir/', 'b', 100, 2)", ["dir/1", "dir/Up", "dir/sub"]),
    ],
)
def test_lists_show_one_level_of_a_bucket(owner: Connection, call: str, names: list[str]) -> None:
    owner.execute("insert into storage.buckets (id, name) values ('b', 'b')")
    for name in ("a", "a!", "a/b", "a/c/d", "A/x", "z", "dir/1", "dir/sub/1", "dir/Up", "di_x", "d%"):
        owner.execute("insert into storage.objects (bucket_id, name) values ('b', %s)", [name])
    assert [
        name for (name,) in owner.execute(f"select name from storage.{call}".encode()).fetchall()
    ] == names


def test_claims_are_read_from_one_document_or_one_by_one(connect: Connect) -> None:
    user = str(uuid4())
    session = request_as(
        connect, "authenticated", sub=user, email="a@example.com", app_metadata={"plan": "pro"}
    )
    assert str(one(session, "select auth.uid()")) == user
    assert one(session, "select auth.role()") == "authenticated"
    assert one(session, "select auth.email()") == "a@example.com"
    assert one(session, "select auth.jwt() -> 'app_metadata' ->> 'plan'") == "pro"
    other = str(uuid4())
    session.execute("select set_config('request.jwt.claim.sub', %s, false)", [other])
    assert str(one(session, "select auth.uid()")) == other
    session.execute(
        "select set_config('request.jwt.claim.sub', '', false), set_config('request.jwt.claims', '', false)"
    )
    assert one(session, "select auth.uid()") is None


def test_service_role_passes_row_level_security(owner: Connection, connect: Connect) -> None:
    owner.execute(
        "create table public.sealed as select 1 as id; alter table public.sealed enable row level security"
    )
    assert one(request_as(connect, "service_role"), "select count(*) from public.sealed") == 1
    assert one(request_as(connect, "anon"), "select count(*) from public.sealed") == 0


@pytest.mark.parametrize("role", ["anon", "authenticated"])
@pytest.mark.parametrize(
    "forbidden",
    [
        "select * from auth.users",
        "select * from auth.refresh_tokens",
        "select * from auth.oauth_clients",
        "select * from auth.webauthn_credentials",
        "select * from basalt.inbox_messages",
        "select * from basalt.bootstrap_versions",
        "select * from vault.secrets",
        "select * from vault.decrypted_secrets",
        "select vault.create_secret('x')",
        "select * from realtime.messages_default",
        "create table public.mine (id int)",
        "create table auth.mine (id int)",
        "select basalt.ensure_service_policies()",
        "insert into supabase_functions.hooks (hook_table_id, hook_name) values (1, 'x')",
    ],
)
def test_outsiders_are_kept_out(connect: Connect, role: str, forbidden: str) -> None:
    with pytest.raises((InsufficientPrivilege, psycopg.errors.UndefinedTable)):
        request_as(connect, role).execute(forbidden.encode())


def test_partitions_of_messages_are_no_way_around_their_policies(owner: Connection, connect: Connect) -> None:
    partitions = owner.execute(
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'realtime.messages'::regclass"
    ).fetchall()
    assert len(partitions) >= 5
    for (partition,) in partitions:
        for right in ("select", "insert", "update", "delete"):
            assert not one(owner, "select has_table_privilege('authenticated', %s, %s)", partition, right)


def test_the_auth_service_writes_the_inbox_and_the_owner_reads_it(
    owner: Connection, connect: Connect
) -> None:
    connect("supabase_auth_admin").execute(
        "insert into basalt.inbox_messages (channel, recipient, body_text, kind, data) "
        "values ('sms', '+60123456789', 'Your code is 123456', 'otp', '{\"token\": \"123456\"}')"
    )
    assert one(owner, "select data ->> 'token' from basalt.inbox_messages") == "123456"
    assert one(request_as(connect, "service_role"), "select count(*) from basalt.inbox_messages") == 1
    with pytest.raises(InsufficientPrivilege):
        connect("supabase_auth_admin").execute("select * from basalt.inbox_messages")


def test_security_definer_functions_do_not_trust_the_callers_search_path(connect: Connect) -> None:
    unsafe = connect("supabase_admin").execute(
        """
        select p.oid::regprocedure::text from pg_proc as p
        where p.prosecdef and p.pronamespace::regnamespace::text not in ('pg_catalog', 'information_schema')
            and not exists (select from unnest(p.proconfig) as setting where setting like 'search_path=%')
        """
    )
    assert unsafe.fetchall() == []


def test_everything_that_persists_says_what_it_is(connect: Connect) -> None:
    silent = connect("supabase_admin").execute(
        """
        select c.oid::regclass::text from pg_class as c
        where c.relkind in ('r', 'p', 'v') and not c.relispartition
            and obj_description(c.oid, 'pg_class') is null and c.relnamespace::regnamespace::text in (
                'auth', 'storage', 'realtime', 'basalt', 'supabase_functions', 'vault')
        union all
        select p.oid::regprocedure::text from pg_proc as p
        where obj_description(p.oid, 'pg_proc') is null and p.pronamespace::regnamespace::text in (
            'auth', 'storage', 'realtime', 'basalt', 'supabase_functions', 'vault', 'graphql',
            'graphql_public')
        """
    )
    assert silent.fetchall() == []


def test_a_project_adds_its_tables_to_the_publication(owner: Connection) -> None:
    owner.execute("create table public.gigs (id int primary key)")
    owner.execute("alter publication supabase_realtime add table public.gigs")
    assert (
        one(owner, "select tablename from pg_publication_tables where pubname = 'supabase_realtime'")
        == "gigs"
    )


def test_a_trigger_broadcasts_changes_through_the_messages_table(owner: Connection, connect: Connect) -> None:
    owner.execute(
        """
        create table public.todos (id int primary key, title text);
        create function public.tell() returns trigger language plpgsql security definer
        set search_path = '' as $$
        begin
            perform realtime.broadcast_changes(
                'todo:' || new.id, tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
            return null;
        end $$;
        create trigger tell after insert or update on public.todos
            for each row execute function public.tell();
        insert into public.todos values (1, 'a');
        """
    )
    topic, event, private, payload = owner.execute(
        "select topic, event, private, payload from realtime.messages"
    ).fetchall()[0]
    assert (topic, event, private) == ("todo:1", "INSERT", True)
    assert payload.pop("id")
    assert payload == {
        "operation": "INSERT",
        "schema": "public",
        "table": "todos",
        "record": {"id": 1, "title": "a"},
        "old_record": None,
    }


def test_policies_on_messages_decide_who_may_send(owner: Connection, connect: Connect) -> None:
    session = request_as(connect, "authenticated", sub=str(uuid4()))
    session.execute("select realtime.send('{}', 'e', 'room:1')")  # refused with a warning
    assert one(owner, "select count(*) from realtime.messages") == 0
    owner.execute(
        "create policy p on realtime.messages for insert to authenticated "
        "with check (realtime.topic() like 'room:%')"
    )
    session.execute("select realtime.send('{}', 'e', 'room:1'), realtime.send('{}', 'e', 'other')")
    assert one(owner, "select string_agg(topic, ',') from realtime.messages") == "room:1"


@pytest.mark.parametrize(
    "change",
    [
        "create table public.fresh (id int)",
        "alter table public.old add column name text",
        "alter table public.old drop column id",
        "drop table public.old",
        "create function public.f() returns int language sql as 'select 1'",
        "comment on table public.old is 'x'",
    ],
)
def test_ddl_from_any_tool_asks_the_gateways_to_reload(
    owner: Connection, connect: Connect, change: str
) -> None:
    owner.execute("create table public.old (id int)")
    listener = connect("authenticator")
    listener.execute("listen pgrst")
    owner.execute(change.encode())
    heard = next(listener.notifies(timeout=5, stop_after=1))
    assert (heard.channel, heard.payload) == ("pgrst", "reload schema")


def test_temporary_tables_reload_nothing(owner: Connection, connect: Connect) -> None:
    listener = connect("authenticator")
    listener.execute("listen pgrst")
    owner.execute("create temporary table passing (id int)")
    owner.execute("drop table passing")
    owner.execute("notify pgrst, 'end'")
    assert [heard.payload for heard in listener.notifies(timeout=5, stop_after=1)] == ["end"]


def test_postgres_may_set_postgrest_options(owner: Connection) -> None:
    owner.execute("alter role authenticator set pgrst.db_aggregates_enabled = 'true'")
    owner.execute("alter role authenticator reset pgrst.db_aggregates_enabled")
    owner.execute("alter role anon set statement_timeout = '3s'")


def test_the_timeout_of_a_role_is_in_force(connect: Connect) -> None:
    session = connect("authenticator")
    session.execute("set statement_timeout = '50ms'")
    with pytest.raises(QueryCanceled):
        session.execute("select pg_sleep(5)")


class TestExtensions:
    @pytest.mark.parametrize(
        "statement",
        [
            "create extension pg_net with schema extensions",
            "create extension pg_cron with schema pg_catalog",
            "create extension pg_cron with schema extensions",
            "create extension pgjwt with schema extensions",
            "create extension pgmq",
            "create extension pgsodium with schema pgsodium",
            "create extension if not exists supabase_vault with schema vault cascade",
            "create extension if not exists pg_graphql with schema graphql",
            'create extension if not exists "uuid-ossp" with schema extensions',
            "create extension if not exists pgcrypto",
            "create extension pg_trgm with schema extensions",
            "create extension postgis with schema extensions",
            "create extension pg_stat_statements with schema extensions",
        ],
    )
    def test_postgres_creates_and_drops_them(self, owner: Connection, statement: str) -> None:
        owner.execute(statement.encode())
        name = statement.replace("if not exists ", "").split()[2].strip('"')
        owner.execute(f"comment on extension \"{name}\" is 'mine'".encode())
        owner.execute(f'drop extension "{name}" cascade'.encode())

    def test_tokens_are_signed_and_verified(self, owner: Connection) -> None:
        owner.execute("create extension pgjwt with schema extensions")
        # RFC 7515 appendix A.1 has the key; the token was made with PyJWT.
        import jwt

        payload = {"sub": "42", "exp": 4102444800}
        token = jwt.encode(payload, "a secret of at least thirty-two bytes", "HS256")
        row = owner.execute(
            "select header, payload, valid from verify(%s, 'a secret of at least thirty-two bytes')", [token]
        ).fetchone()
        assert row == ({"alg": "HS256", "typ": "JWT"}, payload, True)
        signed = one(
            owner, "select sign(%s::json, 'a secret of at least thirty-two bytes')", json.dumps(payload)
        )
        assert jwt.decode(signed, "a secret of at least thirty-two bytes", ["HS256"]) == payload
        assert one(owner, "select valid from verify(%s, 'another secret')", token) is False
        expired = jwt.encode({"exp": 1}, "a secret of at least thirty-two bytes", "HS256")
        assert (
            one(owner, "select valid from verify(%s, 'a secret of at least thirty-two bytes')", expired)
            is False
        )

    def test_a_schedule_is_kept_for_its_owner_only(self, owner: Connection) -> None:
        owner.execute("create extension pg_cron")
        owner.execute("select cron.schedule('nightly', '0 3 * * *', 'select 1')")
        owner.execute("select cron.schedule('nightly', '0 4 * * *', 'select 2')")
        assert owner.execute("select jobname, schedule, username from cron.job").fetchall() == [
            ("nightly", "0 4 * * *", "postgres")
        ]
        with pytest.raises(InsufficientPrivilege):
            owner.execute(
                "select cron.schedule_in_database('x', '* * * * *', 'select 1', 'postgres', 'supabase_admin')"
            )
        assert one(owner, "select cron.unschedule('nightly')") is True
        with pytest.raises(RaiseException, match="could not find valid entry"):
            owner.execute("select cron.unschedule('nightly')")
