"""Seeds run once, after the migrations, whole or not at all."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from basalt.postgres import DatabaseAccess, MigrationError, Progress, apply_migrations, apply_seeds
from tests.projects import settings_of, write_project

pytestmark = [pytest.mark.req("P1", "P19")]

LOGS = "create table public.logs (id int, note text);"


@pytest.fixture
def connection(database: DatabaseAccess) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        yield connection


def seed(database: DatabaseAccess, project: Path) -> tuple[list[str], list[Progress]]:
    apply_migrations(database, project)
    told: list[Progress] = []
    return apply_seeds(database, settings_of(project), on_progress=told.append), told


def test_a_seed_runs_once(database: DatabaseAccess, tmp_path: Path, connection: psycopg.Connection) -> None:
    project = write_project(tmp_path, {"1_a.sql": LOGS, "seed.sql": "insert into logs values (1, 'é');"})

    applied, told = seed(database, project)

    assert applied == ["supabase/seed.sql"]
    assert [step.kind for step in told] == ["seeding", "seeded"]
    assert seed(database, project) == ([], [])
    assert connection.execute("select id, note from public.logs").fetchall() == [(1, "é")]
    row = connection.execute("select path, length(hash) from supabase_migrations.seed_files").fetchall()
    assert row == [("supabase/seed.sql", 64)]


def test_a_changed_seed_is_not_run_again_and_said_once(
    database: DatabaseAccess, tmp_path: Path, connection: psycopg.Connection
) -> None:
    project = write_project(tmp_path, {"1_a.sql": LOGS, "seed.sql": "insert into logs values (1);"})
    seed(database, project)
    write_project(tmp_path, {"seed.sql": "insert into logs values (2);"})

    applied, told = seed(database, project)

    assert applied == []
    assert ["has changed since it was applied" in step.detail for step in told] == [True]
    assert seed(database, project)[1] == []
    assert connection.execute("select id from public.logs").fetchall() == [(1,)]


def test_patterns_name_the_seeds_and_their_order(
    database: DatabaseAccess, tmp_path: Path, connection: psycopg.Connection
) -> None:
    files = {
        "config.toml": "[db.seed]\n"
        'sql_paths = ["./seeds/last.sql", "seeds/*.sql", "../data/more.sql", "none/*.sql"]',
        "1_a.sql": LOGS,
        "seeds/a.sql": "insert into logs values (2);",
        "seeds/last.sql": "insert into logs values (1);",
        "../data/more.sql": "insert into logs values (3);",
        "seed.sql": "select nonsense;",
    }

    applied, told = seed(database, write_project(tmp_path, files))

    assert applied == ["supabase/seeds/last.sql", "supabase/seeds/a.sql", "data/more.sql"]
    assert [step.detail for step in told if step.kind == "warning"] == [
        "[db.seed] sql_paths: no file matches none/*.sql"
    ]
    assert connection.execute("select id from public.logs order by ctid").fetchall() == [(1,), (2,), (3,)]


def test_seeds_can_be_turned_off(database: DatabaseAccess, tmp_path: Path) -> None:
    files = {"config.toml": "[db.seed]\nenabled = false", "seed.sql": "select nonsense;"}

    assert seed(database, write_project(tmp_path, files)) == ([], [])


def test_a_wrong_seed_leaves_nothing_and_names_its_line(
    database: DatabaseAccess, tmp_path: Path, connection: psycopg.Connection
) -> None:
    text = "insert into logs values (1);\ninsert into logs\nvalues ('one');"
    project = write_project(tmp_path, {"1_a.sql": LOGS, "seed.sql": text})

    with pytest.raises(MigrationError) as caught:
        seed(database, project)

    assert (caught.value.file, caught.value.line) == ("supabase/seed.sql", 3)
    assert connection.execute("select count(*) from public.logs").fetchall() == [(0,)]
    assert connection.execute("select count(*) from supabase_migrations.seed_files").fetchall() == [(0,)]


def test_a_seed_dumped_by_pg_dump_applies(
    database: DatabaseAccess, tmp_path: Path, connection: psycopg.Connection
) -> None:
    text = (
        "--\n-- PostgreSQL database dump\n--\n\\restrict abc\nSET session_replication_role = replica;\n"
        "SET transaction_timeout = 0;\nSELECT pg_catalog.set_config('search_path', '', false);\n"
        "COPY public.logs (id, note) FROM stdin;\n1\ta;b\\tc\n2\t\\N\n\\.\n\n"
        'SELECT pg_catalog.setval(\'"pgsodium"."key_key_id_seq"\', 1, false);\n'
        "SELECT pg_catalog.setval('public.things_id_seq', 7, true);\nRESET ALL;\n\\unrestrict abc\n"
    )
    tables = LOGS + "create table public.things (id serial);"

    seed(database, write_project(tmp_path, {"1_a.sql": tables, "seed.sql": text}))

    assert connection.execute("select id, note from public.logs").fetchall() == [(1, "a;b\tc"), (2, None)]


@pytest.mark.req("P3")
def test_a_seeded_user_with_crypt_and_null_tokens_is_accepted(
    database: DatabaseAccess, tmp_path: Path, connection: psycopg.Connection
) -> None:
    text = """
        insert into auth.users (instance_id, id, aud, role, email, encrypted_password, email_confirmed_at,
            raw_app_meta_data, raw_user_meta_data, created_at, updated_at, confirmation_token, recovery_token,
            email_change_token_new, email_change)
        values ('00000000-0000-0000-0000-000000000000', gen_random_uuid(), 'authenticated', 'authenticated',
            'ada@example.com', crypt('correct horse', gen_salt('bf')), now(),
            '{"provider": "email", "providers": ["email"]}', '{}', now(), now(), null, null, null, null);
        insert into auth.users (id, email, encrypted_password)
        values (uuid_generate_v4(), 'grace@example.com', extensions.crypt('x', gen_salt('bf', 10)));
    """

    seed(database, write_project(tmp_path, {"seed.sql": text}))

    matches = (
        "select encrypted_password = extensions.crypt('correct horse', encrypted_password) from auth.users "
    )
    assert connection.execute(matches + "where email = 'ada@example.com'").fetchall() == [(True,)]


def test_a_large_seed_costs_no_more_memory_than_a_small_one(
    database: DatabaseAccess, tmp_path: Path, connection: psycopg.Connection
) -> None:
    project = write_project(tmp_path, {"1_a.sql": LOGS})
    note = "x" * 200
    with (project / "supabase/seed.sql").open("w") as file:
        for block in range(200):
            rows = ",\n".join(f"({block * 100 + row}, '{note}')" for row in range(100))
            file.write(f"insert into public.logs values\n{rows};\n")
        file.write("copy public.logs from stdin;\n")
        file.writelines(f"{number}\t{note}\n" for number in range(20_000))
        file.write("\\.\n")
    apply_migrations(database, project)

    tracemalloc.start()
    apply_seeds(database, settings_of(project))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert (project / "supabase/seed.sql").stat().st_size > 8_000_000
    assert peak < 5_000_000
    assert connection.execute("select count(*) from public.logs").fetchall() == [(40_000,)]
