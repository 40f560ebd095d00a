"""What runs by itself, run by the running project's own worker: each schedule is made due, as if its time had come."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from basalt.postgres import load_access
from tests.jobs.cron_workers import make_due
from tests.server import Server

from .conftest import CLIENT_WARNINGS, START_CREDITS, App, owner
from .paymob import Paymob
from .studio import Sitter, a_sitter, wait_for
from .test_gallery import make_old
from .test_plans import PLUS, let_pass

pytestmark = CLIENT_WARNINGS
Run = Callable[[str], dict[str, Any]]


@pytest.fixture
def customer(sparky: Server) -> Iterator[Sitter]:
    with a_sitter(sparky) as somebody:
        yield somebody


@pytest.fixture(scope="module")
def run(sparky: Server) -> Iterator[Run]:
    """`run("cleanup-cache")`: the worker runs it now; the row of the run that ended, and when the next one is due."""
    access = load_access(sparky.project_dir / ".basalt")
    with (
        psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as admin,
        owner(sparky) as reader,
    ):

        def run_now(name: str) -> dict[str, Any]:
            ended = """
                select d.status, d.return_message, d.runid, j.schedule,
                    to_char(t.next_tick at time zone 'UTC', 'HH24:MI') as next_at
                from cron.job as j
                join cron.job_run_details as d using (jobid)
                join cron.ticks as t using (jobid)
                where j.jobname = %s and d.end_time is not null and d.runid > %s and t.next_tick > now()
            """
            row = reader.execute(
                "select coalesce(max(runid), 0) as last from cron.job_run_details"
            ).fetchone()
            assert row is not None
            make_due(admin, name)
            found: dict[str, Any] = wait_for(lambda: reader.execute(ended, [name, row["last"]]).fetchone())
            assert found["status"] == "succeeded", found
            return found

        yield run_now


@pytest.mark.req("S8")
def test_the_worker_purges_the_cache_and_does_it_next_at_three_utc(sparky: Server, run: Run) -> None:
    with owner(sparky) as admin:
        admin.execute(
            """
            insert into cache.kv_store (key, value, expires_at) values
                ('over', '{}', now() - interval '1 second'), ('good', '{}', now() + interval '1 hour')
            """
        )
        assert run("cleanup-cache")["next_at"] == "03:00"
        left = admin.execute("select key from cache.kv_store where key in ('over', 'good')").fetchall()
        admin.execute("delete from cache.kv_store where key = 'good'")
    assert left == [{"key": "good"}]


@pytest.mark.req("S4")
def test_the_worker_forgets_runs_that_are_long_over(sparky: Server, run: Run, customer: Sitter) -> None:
    with owner(sparky) as admin:
        admin.execute(
            """
            insert into private.leases (user_id, key, tool_id, cost, lease_until) values
                (%(user)s, 'long over', 'enhance', 1, now() - interval '2 days'),
                (%(user)s, 'just over', 'enhance', 1, now() - interval '2 hours')
            """,
            {"user": customer.id},
        )
        run("cleanup-leases")
        left = admin.execute("select key from private.leases where user_id = %s", [customer.id]).fetchall()
    assert left == [{"key": "just over"}]


@pytest.mark.req("S1", "S7")
def test_the_worker_grants_the_months_credits_and_ends_the_plan(
    sparky: Server, run: Run, customer: Sitter, paymob: Paymob
) -> None:
    for _ in range(2):  # two months
        answer = customer.call("create-payment", {"kind": "plan", "itemId": "plus"})
        assert paymob.pay(answer.json()["payment_token"])[0].json()["outcome"] == "granted"
    assert customer.credits() == START_CREDITS + PLUS
    with psycopg.connect(sparky.database_url, row_factory=dict_row, autocommit=True) as admin:
        app = App(load_access(sparky.project_dir / ".basalt"), admin)
        let_pass(app, customer.id, months=1)
        run("advance-subscriptions")
        assert customer.credits() == START_CREDITS + 2 * PLUS
        let_pass(app, customer.id, months=1)
        run("advance-subscriptions")
    profile = customer.client.table("users").select("credits, plan_id").single().execute().data
    assert profile == {"credits": START_CREDITS + 2 * PLUS, "plan_id": "free"}
    bell = customer.client.table("notifications").select("kind").order("created_at").execute().data
    assert [row["kind"] for row in bell][-1] == "subscription_ended"  # type: ignore[call-overload, index]


@pytest.mark.req("S4")
def test_the_worker_sweeps_pictures_that_no_gallery_shows(run: Run, customer: Sitter) -> None:
    kept, lost = (customer.make("enhance", customer.upload()) for _ in range(2))
    customer.client.table("generations").delete().eq("id", lost["generation_id"]).execute()
    make_old(customer)
    assert run("functions/sweep-generations")["schedule"] == "20 * * * *"
    wait_for(lambda: customer.files() == [kept["path"]])
