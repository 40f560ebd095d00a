"""Keys and columns of every kind: what stays is what was to stay, what goes is gone everywhere, the dry run knew."""

import asyncio
import tracemalloc
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess
from basalt.project import erase_user, export_user
from basalt.project.privacy import finding
from basalt.project.privacy.references import find_tables
from basalt.storage import open_store
from tests.project.shop import ADA, BOB, KEEP_ORDERS, changes, count, in_thread, project

pytestmark = [pytest.mark.req("P25")]

WAITING = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


def test_what_is_kept_is_not_taken_along_by_something_else_of_the_user(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    shop.execute(
        "create table public.invoices (id int, payer uuid not null references auth.users, "
        "order_id bigint references public.orders on delete cascade)"
    )
    shop.execute("insert into public.invoices values (1, %s, 1)", [ADA])
    keep = '[basalt.privacy.tables."public.invoices"]\non_erase = "keep"'
    with pytest.raises(BasaltError, match=r"is to stay and refers to public\.orders, which would go"):
        erase_user(project(tmp_path, keep), database, str(ADA), is_dry=True)
    done = erase_user(project(tmp_path, f"{KEEP_ORDERS}\n{keep}"), database, str(ADA), is_dry=False)
    assert changes(done)["public.invoices"] == (0, 0, 1)
    assert count(shop, "public.invoices") == 1


def test_a_log_that_lets_rows_go_with_their_user_alone_is_erased(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    shop.execute(
        """
        create table public.members (id uuid primary key references auth.users on delete cascade);
        create table public.log (
            id int, member_id uuid not null references public.members on delete cascade,
            told_by uuid references auth.users on delete set null);
        insert into public.members select id from auth.users;
        insert into public.log select 1, a.id, b.id from auth.users as a, auth.users as b where a.id <> b.id;
        create function public.keep_log() returns trigger language plpgsql as $$
        begin
            if tg_op = 'DELETE' and not exists (select from public.members where id = old.member_id) then
                return old;
            elsif tg_op = 'UPDATE' and not exists (select from auth.users where id = old.told_by) then
                return new;
            end if;
            raise exception 'append only';
        end $$;
        create trigger keep_log before update or delete on public.log for each row execute function public.keep_log();
        """
    )
    done = erase_user(project(tmp_path), database, str(ADA), is_dry=True)
    assert changes(done)["public.log"] == (1, 1, 0)
    erase_user(project(tmp_path), database, str(ADA), is_dry=False)
    assert shop.execute("select member_id, told_by from public.log").fetchall() == [(BOB, None)]


def test_of_a_key_of_several_columns_only_those_it_names_are_emptied(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    shop.execute(
        """
        create table public.members (
            tenant_id int not null, id uuid primary key references auth.users on delete cascade,
            unique (tenant_id, id));
        create table public.posts (
            id int, tenant_id int not null, author_id uuid,
            foreign key (tenant_id, author_id) references public.members (tenant_id, id)
                on delete set null (author_id));
        insert into public.members select 7, id from auth.users;
        insert into public.posts select 1, 7, id from auth.users;
        """
    )
    erase_user(project(tmp_path), database, str(ADA), is_dry=False)
    posts = shop.execute(
        "select tenant_id, author_id from public.posts order by author_id nulls first"
    ).fetchall()
    assert posts == [(7, None), (7, BOB)]
    anonymise = '[basalt.privacy.tables."public.posts"]\non_erase = "anonymise"\ncolumns = ["id"]'
    erase_user(project(tmp_path, anonymise), database, str(BOB), is_dry=False)
    assert shop.execute("select tenant_id, author_id from public.posts").fetchall() == [(7, None)] * 2


@pytest.mark.parametrize("is_dry", [True, False])
def test_what_would_be_refused_at_the_commit_is_refused_by_the_dry_run(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection, is_dry: bool
) -> None:
    shop.execute(
        "create table public.nodes (id int primary key, owner uuid references auth.users on delete cascade, "
        "parent int references public.nodes deferrable initially deferred)"
    )
    shop.execute("insert into public.nodes values (1, %s, null), (2, %s, 1)", [ADA, BOB])
    with pytest.raises(
        BasaltError, match=r"public\.nodes refers to rows that would go \(nodes_parent_fkey\)"
    ):
        erase_user(project(tmp_path), database, str(ADA), is_dry=is_dry)
    assert (count(shop, "auth.users"), count(shop, "public.nodes")) == (2, 2)


def test_partitions_names_that_want_quotes_and_other_schemas_are_reached(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    shop.execute(
        """
        create schema "App Data";
        create table "App Data"."Événements" (
            "At" timestamptz, "User" uuid references auth.users on delete cascade, "Secret 100%" text)
            partition by range ("At");
        create table "App Data".old partition of "App Data"."Événements"
            for values from ('2020-01-01') to ('2021-01-01');
        create table "App Data".new partition of "App Data"."Événements"
            for values from ('2021-01-01') to ('2999-01-01');
        insert into "App Data"."Événements" select at::timestamptz, id, email
        from auth.users, unnest(array['2020-05-05', '2024-05-05']) as at;
        """
    )
    settings = project(tmp_path)
    done = export_user(settings, database, str(ADA), to=tmp_path / "out", as_zip=False)
    assert done.tables["App Data.Événements"] == 2
    erased = erase_user(settings, database, str(ADA), is_dry=False).tables
    assert (erased["App Data.old"]["deleted"], erased["App Data.new"]["deleted"]) == (1, 1)
    assert shop.execute('select distinct "User" from "App Data"."Événements"').fetchall() == [(BOB,)]


def test_several_users_may_be_without_a_name(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    shop.execute(
        """
        create domain public.short as varchar(12);
        create table public.people (id uuid primary key references auth.users on delete cascade, name text not null,
            nick varchar(20) not null unique, code public.short not null unique, tags text[] not null, at date not null
            default '2020-01-01', level int not null);
        create unique index on public.people (lower(name));
        insert into public.people select id, email, left(email, 3), left(email, 3), '{a}', '2021-01-01', 5
        from auth.users;
        """
    )
    rule = (
        '[basalt.privacy.tables."public.people"]\non_erase = "anonymise"\n'
        'columns = ["name", "nick", "code", "tags", "at", "level"]'
    )
    for user in (ADA, BOB):
        erase_user(project(tmp_path, rule), database, str(user), is_dry=False)
    for name, nick, code, *rest in shop.execute(
        "select name, nick, code, tags, at::text, level from public.people"
    ):
        assert {text[:7] for text in (name, nick, code)} == {"erased-"}
        assert rest == [[], "2020-01-01", 0]


def test_ids_without_a_key_are_found_as_text_and_as_uuid_by_their_index(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    shop.execute("create table public.visits (by_uuid uuid, by_text varchar(40), by_number bigint)")
    shop.execute("insert into public.visits select gen_random_uuid(), 'x', 1 from generate_series(1, 5000)")
    shop.execute("insert into public.visits values (%s, null, 2), (null, %s, 3)", [ADA, str(ADA)])
    shop.execute("create index on public.visits (by_uuid); create index on public.visits (by_text)")
    shop.execute("analyze public.visits")
    rule = '[basalt.privacy.tables."public.visits"]\non_erase = "delete"\nuser_columns = '
    settings = project(tmp_path, rule + '["by_uuid", "by_text"]')
    done = erase_user(settings, database, str(ADA), is_dry=False)
    assert changes(done)["public.visits"] == (2, 0, 0)
    condition = next(
        each for each in find_tables(shop, settings.basalt.privacy.tables) if each.table == "public.visits"
    ).condition()
    query = sql.SQL("explain select from public.visits where {}").format(condition)
    plan = "\n".join(line for (line,) in shop.execute(query, {"id": BOB}).fetchall())
    assert "visits_by_uuid_idx" in plan
    assert "visits_by_text_idx" in plan
    for column, message in (
        ("by_number", "public.visits holds no users' ids in by_number"),
        ("nope", "public.visits has no column nope"),
    ):
        config = project(tmp_path, f'{rule}["{column}"]')
        with pytest.raises(BasaltError, match=message):
            erase_user(config, database, str(BOB), is_dry=True)
        with pytest.raises(BasaltError, match=message):
            export_user(config, database, str(BOB), to=tmp_path / "out", as_zip=False)


def test_whoever_has_nothing_to_be_kept_goes_altogether(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    shop.execute("delete from public.profiles where id = %s", [ADA])
    settings = project(tmp_path, KEEP_ORDERS)
    assert not erase_user(settings, database, str(ADA), is_dry=True).keeps_user
    assert not erase_user(settings, database, str(ADA), is_dry=False).keeps_user
    assert shop.execute("select id from auth.users").fetchall() == [(BOB,)]


def test_an_address_of_several_users_names_none_of_them(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    shop.execute("insert into auth.users (id, email) values (%s, 'ADA@example.com')", [uuid4()])
    with pytest.raises(BasaltError, match="is the address of several users") as refused:
        erase_user(project(tmp_path), database, "ada@example.com", is_dry=False)
    assert refused.value.code == "user_ambiguous"
    assert count(shop, "auth.users") == 3


def test_an_erasure_that_is_run_again_tells_when_it_was(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")  # in a container

    monkeypatch.setattr(finding.getpass, "getuser", nameless)
    erase_user(project(tmp_path), database, str(ADA), is_dry=False)
    with pytest.raises(BasaltError, match="There is no user") as again:
        erase_user(project(tmp_path), database, str(ADA), is_dry=False)
    assert "The user was erased at 2" in (again.value.hint or "")
    row = shop.execute("select performed_by from basalt.privacy_log").fetchone()
    assert row is not None
    assert row[0].startswith("uid ")


async def test_uploads_under_way_and_lists_of_ids_forget_the_user(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    settings = project(tmp_path)
    theirs, other = str(uuid4()), str(uuid4())
    shop.execute(
        "insert into storage.buckets (id, name, owner, owner_id) values ('photos', 'photos', %s, %s)",
        [ADA, str(ADA)],
    )
    for upload, user in ((theirs, ADA), (other, BOB)):
        shop.execute(
            "insert into basalt.resumable_uploads (id, bucket_id, name, metadata, owner_id, role, is_signed, "
            "is_upsert, expires_at) "
            "values (%s, 'photos', 'a', '', %s, 'authenticated', false, false, now() + interval '1 hour')",
            [upload, str(user)],
        )
    shop.execute("insert into flags.cohorts (name, user_ids) values ('testers', %s)", [[str(ADA), str(BOB)]])

    async def chunks():  # type: ignore[no-untyped-def]
        yield b"part"

    async with open_store(settings) as store:
        for upload in (theirs, other):
            await store.put_part(upload, 1, chunks(), limit=100)
        await in_thread(lambda: erase_user(settings, database, str(ADA), is_dry=True))
        assert [len(await store.list_parts(upload)) for upload in (theirs, other)] == [1, 1]
        await in_thread(lambda: erase_user(settings, database, str(ADA), is_dry=False))
        assert [len(await store.list_parts(upload)) for upload in (theirs, other)] == [0, 1]
    assert shop.execute("select id::text from basalt.resumable_uploads").fetchall() == [(other,)]
    assert shop.execute("select owner, owner_id from storage.buckets").fetchall() == [(None, None)]
    assert shop.execute("select user_ids from flags.cohorts").fetchall() == [([str(BOB)],)]


async def test_a_session_that_is_being_refreshed_is_waited_for(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    """Auth locks the session and then the user; the other way round the two would wait for each other."""
    with psycopg.connect(database.conninfo("supabase_admin")) as other:
        other.execute("select from auth.sessions where user_id = %s for update", [ADA])
        erasing = asyncio.create_task(
            in_thread(lambda: erase_user(project(tmp_path), database, str(ADA), is_dry=False))
        )
        async with asyncio.timeout(10):
            while not shop.execute(WAITING).fetchall():
                await asyncio.sleep(0.01)
        other.execute("select from auth.users where id = %s for update", [ADA])
    assert (await erasing).tables["auth.sessions"]["deleted"] == 1


async def test_an_erasure_whose_connection_is_cut_changes_nothing(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    with psycopg.connect(database.conninfo("supabase_admin")) as other:
        other.execute("select from public.review_likes for update")
        erasing = asyncio.create_task(
            in_thread(lambda: erase_user(project(tmp_path), database, str(ADA), is_dry=False))
        )
        async with asyncio.timeout(10):
            while not shop.execute(WAITING).fetchall():
                await asyncio.sleep(0.01)
        shop.execute(WAITING.replace("select", "select pg_terminate_backend(pid)"))
        with pytest.raises(BasaltError, match="Nothing was erased"):
            await erasing
    assert (count(shop, "auth.users"), count(shop, "auth.sessions"), count(shop, "public.orders")) == (
        2,
        2,
        2,
    )
    assert count(shop, "basalt.privacy_log") == 0


def test_numbers_are_exported_as_exact_as_they_are(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    shop.execute("create table public.purses (owner uuid references auth.users, wei numeric, price numeric)")
    shop.execute(
        "insert into public.purses values (%s, 123456789012345678901234567890, 1234567890123456.7890)", [ADA]
    )
    export_user(project(tmp_path), database, str(ADA), to=tmp_path / "out", as_zip=False)
    text = (tmp_path / "out" / "tables" / "public.purses.json").read_text("utf-8")
    assert '"wei": 123456789012345678901234567890' in text
    assert '"price": 1234567890123456.7890' in text


def test_an_export_that_fails_tells_why_and_leaves_nothing(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    shop.execute("create view public.shares as select id, 1 / (length(email) - 15) as share from auth.users")
    rule = '[basalt.privacy.tables."public.shares"]\nuser_columns = ["id"]\non_erase = "keep"'
    with pytest.raises(BasaltError, match="Nothing was exported: division by zero"):
        export_user(project(tmp_path, rule), database, str(ADA), to=tmp_path / "out", as_zip=False)
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


def test_an_export_of_a_large_account_needs_no_more_memory(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    shop.execute("insert into storage.buckets (id, name) values ('photos', 'photos')")
    shop.execute(
        "insert into storage.objects (bucket_id, name, owner_id, version, user_metadata) "
        "select 'photos', n::text, %s, gen_random_uuid()::text, jsonb_build_object('note', repeat('x', 20000)) "
        "from generate_series(1, 1500) as n",
        [str(ADA)],
    )
    shop.execute(
        "insert into public.orders select n, %s, repeat('x', 20000), n from generate_series(10, 1510) as n",
        [ADA],
    )
    tracemalloc.start()
    done = export_user(project(tmp_path), database, str(ADA), to=tmp_path / "out", as_zip=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (done.missing, done.tables["public.orders"]) == (1500, 1502)
    assert (tmp_path / "out" / "files.json").stat().st_size > 30_000_000
    assert peak < 20_000_000
