"""Schedules on a server that is not ours: its owner stands in for `postgres`, and nobody is superuser."""

from pathlib import Path

import psycopg
import pytest

from basalt.postgres import access_from_url, apply_bootstrap
from tests.jobs.cron_workers import make_due, one, result_of, running_scheduler
from tests.postgres.test_bootstrap import managed_url

pytestmark = pytest.mark.req("P11", "P2")

__all__ = ["managed_url"]  # a fixture


async def test_a_managed_servers_schedules_run(managed_url: str, tmp_path: Path) -> None:
    access = access_from_url(managed_url, tmp_path)
    apply_bootstrap(access)
    with psycopg.connect(access.conninfo("postgres"), autocommit=True) as owner:
        owner.execute("create table public.marks (who text)")
        owner.execute("create role cron_guest login password 'guest'")
        owner.execute("grant usage on schema cron, public to cron_guest")
        users = {"owner": "owner", "postgres": "owner", "authenticated": "authenticated"}
        for username in users:
            owner.execute(
                "select cron.schedule_in_database(%s, '0 0 1 1 *', %s, 'app', %s)",
                [username, "insert into public.marks values (current_user)", username],
            )
        async with running_scheduler(access, '[functions.digest]\nschedule = "@daily"'):
            for username, runs_as in users.items():
                make_due(owner, username)
                assert await result_of(owner, username) == ("succeeded", "INSERT 0 1")
                assert one(owner, "select string_agg(who, ' ') from public.marks") == runs_as
                owner.execute("delete from public.marks")
        assert one(owner, "select username from cron.job where is_configured") == "owner"
        owner.execute("grant postgres to cron_guest")
    with psycopg.connect(access.conninfo("postgres"), user="cron_guest", password="guest") as guest:
        assert one(guest, "select count(*) from cron.job") == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="member of role"):
            guest.execute(
                "insert into cron.job (schedule, command, username) values ('@daily', 'x', 'postgres')"
            )
