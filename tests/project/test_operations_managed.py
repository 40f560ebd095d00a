"""Doctor, alerts, privacy and retention on a managed server, whose owner is no superuser."""

import asyncio
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from basalt.postgres import access_from_url, apply_bootstrap
from basalt.project import AlertWatch, erase_user, examine, export_user, list_alerts, run_policy
from tests.postgres.test_bootstrap import managed_url
from tests.projects import settings_of, write_project

__all__ = ["managed_url"]  # a fixture

pytestmark = [pytest.mark.req("P17", "P25")]

ADA = "0b2e6f0e-6b4e-4b0e-8b0e-00000000ada0"


@pytest.fixture
def managed(managed_url: str, tmp_path: Path):  # type: ignore[no-untyped-def]
    access = access_from_url(managed_url, tmp_path)
    apply_bootstrap(access)
    policy = '[basalt.retention.logs]\ntable = "public.logs"\nolder_than = "1d"\n'
    alert = "[basalt.alerts.rules.queue_age]\nfor = 0\n"
    settings = settings_of(
        write_project(tmp_path / "project", {"config.toml": f'[db]\nurl = "{managed_url}"\n{policy}{alert}'})
    )
    with psycopg.connect(access.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(
            "create table public.logs (id int primary key, user_id uuid references auth.users on delete cascade, "
            "created_at timestamptz)"
        )
        connection.execute("insert into auth.users (id, email) values (%s, 'ada@example.com')", [ADA])
        connection.execute(
            "insert into public.logs values (1, null, now() - interval '2 days'), (2, %s, now())", [ADA]
        )
        yield settings, access, connection
        connection.execute("drop table public.logs; delete from auth.users; delete from basalt.jobs")


def test_all_of_it_works_without_a_superuser(managed, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    settings, access, connection = managed
    seen = examine(settings, access)
    assert ("rls_disabled_in_public", "public.logs") in {(each.check, each.subject) for each in seen.findings}
    assert run_policy(settings, access, "logs") == 1
    assert export_user(settings, access, ADA, to=tmp_path / "out", as_zip=False).tables == {
        "auth.users": 1,
        "public.logs": 1,
    }
    told = erase_user(settings, access, ADA, is_dry=True)
    assert erase_user(settings, access, ADA, is_dry=False).tables == told.tables
    assert connection.execute("select count(*) from public.logs").fetchone() == (0,)
    connection.execute("select basalt.enqueue('slow')")
    connection.execute("update basalt.jobs set run_at = now() - interval '1 hour'")

    async def look() -> None:
        async with await psycopg.AsyncConnection.connect(
            access.conninfo("supabase_admin"), autocommit=True, row_factory=dict_row
        ) as watching:
            await AlertWatch(settings, access).look(watching)

    asyncio.run(look())
    assert [
        alert.rule
        for alert in list_alerts(access, with_resolved=False, limit=10)
        if alert.rule == "queue_age"
    ]
