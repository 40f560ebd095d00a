"""Everything about one user goes out or goes away, nobody else's does, and a line says that it happened."""

import hashlib
import json
import zipfile
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from basalt.cli.main import app
from basalt.config import PrivacyTableSettings
from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess
from basalt.project import erase_user, export_user
from basalt.project.privacy.planning import plan_erasure
from basalt.project.privacy.references import ForeignKey, reach
from basalt.storage import ContentMissingError, open_store
from tests.project.shop import ADA, BOB, KEEP_ORDERS, changes, count, in_thread, project, store_file
from tests.projects import write_project

pytestmark = [pytest.mark.req("P25")]


async def test_an_export_holds_all_of_the_user_and_nothing_of_others(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    settings = project(
        tmp_path, '[basalt.privacy.tables."public.logins"]\nuser_columns = ["who"]\non_erase = "delete"'
    )
    await store_file(settings, shop, ADA, "../ada/portrait.png", b"picture of ada")
    await store_file(settings, shop, BOB, "bob.png", b"picture of bob")
    done = await in_thread(
        lambda: export_user(settings, database, str(ADA), to=tmp_path / "out", as_zip=False)
    )
    files = {
        path.relative_to(tmp_path / "out").as_posix()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    tables = {
        name.removeprefix("tables/").removesuffix(".json") for name in files if name.startswith("tables/")
    }
    assert tables == {
        "auth.users", "auth.sessions", "auth.audit_log_entries", "public.profiles", "public.orders",
        "public.order_items", "public.reviews", "public.review_likes", "public.logins",
    }  # fmt: skip
    assert {name: count for name, count in done.tables.items() if name.startswith("public.")} == {
        "public.profiles": 1, "public.orders": 1, "public.order_items": 2, "public.reviews": 1,
        "public.review_likes": 1, "public.logins": 1,
    }  # fmt: skip
    everything = b"".join((tmp_path / "out" / name).read_bytes() for name in files)
    assert b"Elm Street 1" in everything
    assert b"picture of ada" in everything
    for foreign in (b"bob", b"Elm Street 2", str(BOB).encode(), b"bcrypt-hash", b"chair likes"):
        assert foreign not in everything
    [file] = json.loads((tmp_path / "out" / "files.json").read_bytes())
    assert file["name"] == "../ada/portrait.png"
    assert (tmp_path / "out" / file["file"]).read_bytes() == b"picture of ada"
    assert hashlib.sha256(b"picture of ada").hexdigest() == file["sha256"]
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0
    row = shop.execute("select action, subject_hash, counts from basalt.privacy_log").fetchone()
    assert row is not None
    assert (row[0], row[1]) == ("export", hashlib.sha256(str(ADA).encode()).digest())
    assert row[2]["tables"]["public.order_items"] == 2
    assert "ada" not in str(row[2])


def test_an_export_is_a_zip_file_too_and_never_overwrites(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    settings = project(tmp_path)
    export_user(settings, database, "ADA@example.com", to=tmp_path / "ada.zip", as_zip=True)
    with zipfile.ZipFile(tmp_path / "ada.zip") as archive:
        assert json.loads(archive.read("tables/public.orders.json"))[0]["address"] == "Elm Street 1"
        assert json.loads(archive.read("manifest.json"))["tables"]["public.orders"] == 1
    with pytest.raises(BasaltError, match="is there already"):
        export_user(settings, database, str(ADA), to=tmp_path / "ada.zip", as_zip=True)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_unknown_user_is_a_clear_error(tmp_path: Path, database: DatabaseAccess) -> None:
    for who in ("0b2e6f0e-6b4e-4b0e-8b0e-000000000000", "nobody@example.com", "'; drop table auth.users; --"):
        with pytest.raises(BasaltError, match="There is no user"):
            erase_user(project(tmp_path), database, who, is_dry=False)
        with pytest.raises(BasaltError, match="There is no user"):
            export_user(project(tmp_path), database, who, to=tmp_path / "out", as_zip=False)
    assert not (tmp_path / "out").exists()


def test_without_rules_the_foreign_keys_say_what_goes(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    settings = project(tmp_path)
    told = erase_user(settings, database, str(ADA), is_dry=True)
    assert count(shop, "auth.users") == 2
    assert count(shop, "basalt.privacy_log") == 0
    done = erase_user(settings, database, str(ADA), is_dry=False)
    assert (
        changes(told)
        == changes(done)
        == {
            "public.profiles": (1, 0, 0),
            "public.orders": (1, 0, 0),
            "public.order_items": (2, 0, 0),
            "public.reviews": (0, 1, 0),
            "public.review_likes": (1, 0, 0),
        }
    )
    assert done.tables["auth.sessions"]["deleted"] == 1
    assert count(shop, "auth.users") == count(shop, "auth.sessions") == count(shop, "public.profiles") == 1
    assert count(shop, "public.reviews") == 2  # set null
    assert count(shop, "auth.audit_log_entries", "payload::text like '%ada@%'") == 0
    assert count(shop, "auth.audit_log_entries", "ip_address = '10.0.0.1'") == 1
    assert count(shop, "basalt.privacy_log", "action = 'erase'") == 1


def test_rows_that_are_kept_keep_an_empty_user(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    settings = project(tmp_path, KEEP_ORDERS)
    told = erase_user(settings, database, str(ADA), is_dry=True)
    done = erase_user(settings, database, str(ADA), is_dry=False)
    assert (done.keeps_user, told.tables) == (True, done.tables)
    assert changes(done) == {
        "public.profiles": (0, 1, 0),
        "public.orders": (0, 0, 1),
        "public.reviews": (0, 1, 0),
        "public.review_likes": (1, 0, 0),
        "public.logins": (1, 0, 0),
    }
    row = shop.execute(
        "select email, encrypted_password, raw_user_meta_data, deleted_at from auth.users where id = %s",
        [ADA],
    ).fetchone()
    assert row is not None
    assert row[:3] == (None, None, {})
    assert row[3] is not None
    assert shop.execute("select name, bio from public.profiles where id = %s", [ADA]).fetchone() == ("", None)
    assert count(shop, "public.orders") == 2
    assert count(shop, "auth.sessions") == 1


async def test_files_go_with_their_bytes(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    settings = project(tmp_path)
    gone = await store_file(settings, shop, ADA, "a.png", b"ada")
    left = await store_file(settings, shop, BOB, "b.png", b"bob")
    told = await in_thread(lambda: erase_user(settings, database, str(ADA), is_dry=True))
    assert (told.file_count, told.file_bytes) == (1, 3)
    async with open_store(settings) as store:
        assert await store.read(gone, 0, 3) == b"ada"
        await in_thread(lambda: erase_user(settings, database, str(ADA), is_dry=False))
        with pytest.raises(ContentMissingError):
            await store.read(gone, 0, 3)
        assert await store.read(left, 0, 3) == b"bob"
    assert count(shop, "storage.objects") == 1


def test_a_key_that_does_not_say_what_becomes_of_rows_wants_a_rule(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    shop.execute(
        "create table public.invoices (id bigint primary key, payer uuid not null references auth.users)"
    )
    shop.execute("insert into public.invoices values (1, %s), (2, %s), (3, %s)", [BOB, ADA, ADA])
    with pytest.raises(BasaltError, match=r"public\.invoices \(payer\): 2 rows") as refused:
        erase_user(project(tmp_path), database, str(ADA), is_dry=False)
    assert refused.value.hint is not None
    assert '[basalt.privacy.tables."public.invoices"]' in refused.value.hint
    assert count(shop, "public.orders") == 2
    delete = '[basalt.privacy.tables."public.invoices"]\non_erase = "delete"'
    done = erase_user(project(tmp_path, delete), database, str(ADA), is_dry=False)
    assert changes(done)["public.invoices"] == (2, 0, 0)


def test_a_trigger_that_refuses_leaves_everything_as_it_was(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection
) -> None:
    shop.execute(
        "create function public.refuse() returns trigger language plpgsql as "
        "'begin raise exception ''the ledger is for ever''; end'; "
        "create trigger refuse before delete on public.order_items for each row execute function public.refuse()"
    )
    with pytest.raises(BasaltError, match="the ledger is for ever"):
        erase_user(project(tmp_path), database, str(ADA), is_dry=False)
    assert (count(shop, "auth.users"), count(shop, "public.orders"), count(shop, "public.review_likes")) == (
        2,
        2,
        2,
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            '[basalt.privacy.tables."public.orders"]\non_erase = "keep"',
            "refers to public.profiles, which would go",
        ),
        (
            '[basalt.privacy.tables."public.products"]\non_erase = "delete"',
            "public.products does not refer to users",
        ),
        ('[basalt.privacy.tables."public.nothing"]\nuser_columns = ["a"]\non_erase = "delete"', "nothing"),
        ('[basalt.privacy.tables."public.logins"]\nuser_columns = ["who"]', "say what an erasure does"),
        (
            '[basalt.privacy.tables."public.reviews"]\non_erase = "anonymise"\ncolumns = ["id", "nope"]',
            "has no column nope",
        ),
    ],
    ids=["kept-without-parent", "not-a-users", "no-such-table", "no-decision", "no-such-column"],
)
def test_rules_that_cannot_be_kept_are_refused(
    tmp_path: Path, database: DatabaseAccess, shop: psycopg.Connection, config: str, message: str
) -> None:
    with pytest.raises(BasaltError, match=message):
        erase_user(project(tmp_path, config), database, str(ADA), is_dry=False)
    assert (count(shop, "auth.users"), count(shop, "public.reviews", "text = 'good'")) == (2, 1)


def test_circles_of_keys_end() -> None:
    def key(table: str, parent: str) -> ForeignKey:
        return ForeignKey(
            name=f"{table}_{parent}", table=table, columns=["x"], parent=parent, parent_columns=["id"],
            loose_columns=["x"], on_delete="cascade", is_nullable=True, is_unique=False,
        )  # fmt: skip

    tables = reach([key("a.a", "auth.users"), key("a.b", "a.a"), key("a.a", "a.b"), key("a.c", "a.b")], {})
    assert [(each.table, each.depth) for each in tables] == [
        ("auth.users", 0),
        ("a.a", 1),
        ("a.b", 2),
        ("a.c", 3),
    ]
    plan = plan_erasure(tables, {"a.c": PrivacyTableSettings(on_erase="delete")})
    assert [(step.action, step.reached.table) for step in plan.steps] == [
        ("delete", "a.c")
    ]  # a.a goes with its user


@pytest.mark.usefixtures("by_url")
def test_the_commands_ask_and_tell(tmp_path: Path, shop: psycopg.Connection) -> None:
    folder = str(write_project(tmp_path / "shop", {}))
    runner = CliRunner()
    out = str(tmp_path / "out")
    exported = runner.invoke(app, ["user", "export", str(ADA), folder, "--to", out, "--json"])
    assert (exported.exit_code, json.loads(exported.stdout)["tables"]["public.orders"]) == (0, 1)
    assert runner.invoke(app, ["user", "erase", str(ADA), folder], input="n\n").exit_code == 1
    assert count(shop, "auth.users") == 2
    dry = runner.invoke(app, ["user", "erase", str(ADA), folder, "--dry-run"])
    assert dry.stdout.endswith("Nothing was changed.\n")
    done = runner.invoke(app, ["user", "erase", str(ADA), folder, "--yes"])
    assert done.stdout.endswith(f"{ADA} is erased.\n")
    assert count(shop, "auth.users") == 1
