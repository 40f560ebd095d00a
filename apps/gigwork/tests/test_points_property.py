"""The sum of points_log is the balance: any awards, applications and shifts, on many connections, some killed."""

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .acting import LNG, NEAR, App

WORKERS = 3
ACTIONS = st.sampled_from(["apply", "award", "repeat", "take", "clock_in", "clock_out", "check", "kill"])
PLANS = st.lists(
    st.tuples(ACTIONS, st.integers(0, WORKERS - 1), st.integers(1, 90)), min_size=10, max_size=60
)
KILL = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and usename = 'authenticator' and pid <> pg_backend_pid()
order by md5(pid::text || %s) limit 1
"""


@pytest.mark.req("G8")
@settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(plan=PLANS)
def test_the_sum_of_the_log_is_the_balance_whatever_happens_at_once(
    app: App, plan: list[tuple[str, int, int]]
) -> None:
    gigs = [app.a_gig() for _ in range(2)]
    workers = [app.an_accepted_worker(gigs[0]) for _ in range(WORKERS)]

    def act(step: tuple[str, int, int]) -> None:
        action, number, points = step
        worker = workers[number]
        with suppress(psycopg.Error):  # refusals, and connections that were killed
            if action == "apply":
                app.call(worker, "apply_to_gig", p_gig_id=gigs[1])
            elif action == "clock_in":
                app.call(worker, "clock_in", p_gig_id=gigs[0], p_lat=NEAR, p_lng=LNG)
            elif action == "clock_out":
                with app.acting_as(worker) as connection:
                    row = connection.execute(
                        "select id from public.timesheets order by clock_in desc"
                    ).fetchone()
                if row:
                    app.call(worker, "clock_out", p_timesheet_id=row["id"], p_lat=NEAR, p_lng=LNG)
            elif action == "check":
                app.call(worker, "check_achievements")
            elif action == "kill":
                with psycopg.connect(app.access.conninfo("supabase_admin"), autocommit=True) as admin:
                    admin.execute(KILL, [str(points)])
            else:
                source = {"p_source_id": worker, "p_reason": "referral"} if action == "repeat" else {}
                app.call(
                    None, "increment_user_points", as_role="service_role", p_user_id=worker,
                    p_points=-points if action == "take" else points, **source)  # fmt: skip

    shuffled = random.Random(len(plan)).sample(plan, len(plan))
    with ThreadPoolExecutor(8) as crowd:
        list(crowd.map(act, [*plan, *shuffled]))
    for worker in workers:
        app.balance(worker)
        assert app.one(
            "select level = private.level_for(total_points) from public.users where id = %s", worker
        )
    shifts = "select count(*) from public.timesheets where clock_out is not null"
    assert app.one(shifts) == app.one(
        "select count(*) from public.points_log where reason = 'completed_shift'"
    )
