"""The SQL of pg_cron: functions, tables, words of errors, and who sees and changes what."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from basalt.postgres import DatabaseAccess
from tests.jobs.cron_workers import Connection, cron_database, one, postgres_session

pytestmark = pytest.mark.req("P11")

__all__ = ["cron_database"]  # a fixture


@pytest.fixture(scope="module")
def database(cron_database: DatabaseAccess) -> DatabaseAccess:
    return cron_database


@pytest.fixture
def owner(database: DatabaseAccess) -> Iterator[Connection]:
    with postgres_session(database) as connection:
        yield connection


@contextmanager
def acting_as(access: DatabaseAccess, role: str) -> Iterator[Connection]:
    with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute(sql.SQL("set session authorization {}").format(sql.Identifier(role)))
        yield connection


@pytest.fixture
def users(owner: Connection, database: DatabaseAccess) -> Iterator[tuple[str, str]]:
    """Two roles that may have schedules."""
    names = ("cron_ada", "cron_Bob")
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        for name in names:
            connection.execute(sql.SQL("create role {}").format(sql.Identifier(name)))
            connection.execute(sql.SQL("grant usage on schema cron to {}").format(sql.Identifier(name)))
        yield names
        for name in names:
            connection.execute(sql.SQL("drop owned by {}").format(sql.Identifier(name)))
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def test_the_columns_are_pg_crons_and_ours_come_after_them(owner: Connection) -> None:
    columns = (
        "select string_agg(attname, ' ' order by attnum) from pg_attribute "
        "where attrelid = %s::regclass and attnum > 0"
    )
    assert one(owner, columns, "cron.job") == (
        "jobid schedule command nodename nodeport database username active jobname "
        "timezone overlap missed is_configured"
    )
    assert one(owner, columns, "cron.job_run_details") == (
        "jobid runid job_pid database username command status return_message start_time end_time tick"
    )


@pytest.mark.parametrize(
    "signature",
    [
        "cron.schedule(text,text)",
        "cron.schedule(text,text,text)",
        "cron.schedule_in_database(text,text,text,text,text,boolean)",
        "cron.alter_job(bigint,text,text,text,text,boolean)",
        "cron.unschedule(bigint)",
        "cron.unschedule(text)",
    ],
)
def test_the_signatures_are_pg_crons(owner: Connection, signature: str) -> None:
    assert one(owner, "select to_regprocedure(%s) is not null", signature) is True


def test_the_same_name_changes_the_schedule_and_leaves_a_paused_one_paused(owner: Connection) -> None:
    first = one(owner, "select cron.schedule('nightly', '0 3 * * *', 'select 1')")
    owner.execute("select cron.alter_job(%s, active := false)", [first])
    assert one(owner, "select cron.schedule('nightly', '0 4 * * *', 'select 2')") == first
    row = owner.execute(
        "select schedule, command, active, username, timezone, overlap, missed from cron.job"
    ).fetchone()
    assert row == ("0 4 * * *", "select 2", False, "postgres", "UTC", "queue", "skip")


def test_schedules_without_a_name_are_each_their_own(owner: Connection) -> None:
    numbers = {one(owner, "select cron.schedule('0 3 * * *', 'select 1')") for _ in range(2)}
    assert len(numbers) == 2
    for number in numbers:
        assert one(owner, "select cron.unschedule(%s::bigint)", number) is True


def test_alter_job_changes_what_is_given(owner: Connection) -> None:
    number = one(owner, "select cron.schedule('n', '0 3 * * *', 'select 1')")
    owner.execute("select cron.alter_job(%s, '0 10 * * *')", [number])
    owner.execute(
        "select cron.alter_job(job_id := %s, command := 'vacuum', username := 'authenticated')", [number]
    )
    assert owner.execute("select schedule, command, username, active from cron.job").fetchone() == (
        "0 10 * * *",
        "vacuum",
        "authenticated",
        True,
    )


def test_time_zone_and_policies_are_further_arguments(owner: Connection) -> None:
    owner.execute(
        "select cron.schedule('n', '0 9 * * *', 'select 1', timezone => 'asia/singapore', missed => 'once')"
    )
    terms = "select timezone, overlap, missed from cron.job where jobname = 'n'"
    assert owner.execute(terms).fetchone() == ("Asia/Singapore", "queue", "once")
    owner.execute("select cron.schedule('n', '0 10 * * *', 'select 1')")
    owner.execute("select cron.schedule('n', '0 10 * * *', 'select 1', timezone => null, overlap => 'skip')")
    assert owner.execute(terms).fetchone() == ("Asia/Singapore", "skip", "once")
    owner.execute("update cron.job set timezone = 'Europe/Berlin' where jobname = 'n'")
    assert owner.execute(terms).fetchone() == ("Europe/Berlin", "skip", "once")
    owner.execute(
        "select cron.schedule_in_database('n', '0 10 * * *', 'select 1', current_database(), null, true, 'UTC')"
    )
    assert owner.execute(terms).fetchone() == ("UTC", "skip", "once")


def test_the_setting_of_pg_cron_is_the_zone_of_new_schedules(owner: Connection) -> None:
    owner.execute("set cron.timezone = 'Asia/Singapore'")
    owner.execute("select cron.schedule('n', '0 9 * * *', 'select 1')")
    assert one(owner, "select timezone from cron.job") == "Asia/Singapore"


@pytest.mark.parametrize(
    ("statement", "error", "message", "detail"),
    [
        (
            "select cron.schedule('61 * * * *', 'select 1')",
            "InvalidParameterValue",
            "invalid schedule: 61 * * * *",
            "minute: 61 is not from 0 to 59",
        ),
        (
            "insert into cron.job (schedule, command) values ('60 seconds', 'select 1')",
            "InvalidParameterValue",
            "invalid schedule: 60 seconds",
            "seconds: 60 is not from 1 to 59",
        ),
        ("select cron.schedule(null, 'select 1')", "NullValueNotAllowed", "schedule can not be NULL", None),
        ("select cron.schedule('* * * * *', null)", "NullValueNotAllowed", "command can not be NULL", None),
        (
            "select cron.schedule(null, '* * * * *', 'x')",
            "NullValueNotAllowed",
            "job_name can not be NULL",
            None,
        ),
        (
            "select cron.schedule('n', '* * * * *', 'x', timezone => 'Mars/Base')",
            "InvalidParameterValue",
            "invalid time zone: Mars/Base",
            None,
        ),
        (
            "select cron.schedule('n', '* * * * *', 'x', timezone => '', overlap => 'never')",
            "InvalidParameterValue",
            "invalid time zone: ",
            None,
        ),
        (
            "select cron.schedule('n', '* * * * *', 'x', 'UTC', overlap => 'never')",
            "InvalidParameterValue",
            "invalid overlap policy: never",
            None,
        ),
        (
            "select cron.schedule('n', '* * * * *', 'x', 'UTC', missed => 'all')",
            "InvalidParameterValue",
            "invalid policy for missed runs: all",
            None,
        ),
        (
            "select cron.schedule_in_database('n', '* * * * *', 'x', 'nowhere')",
            "InvalidCatalogName",
            'database "nowhere" does not exist',
            None,
        ),
        (
            "select cron.schedule_in_database('n', '* * * * *', 'x', current_database(), 'nobody_here')",
            "UndefinedObject",
            'role "nobody_here" does not exist',
            None,
        ),
        (
            "select cron.schedule_in_database('n', '* * * * *', 'x', current_database(), 'supabase_admin')",
            "InsufficientPrivilege",
            'must be a member of role "supabase_admin" to change its schedules',
            None,
        ),
        (
            "select cron.alter_job(42, active := false)",
            "RaiseException",
            "Job 42 does not exist or you don't own it",
            None,
        ),
        ("select cron.alter_job(42)", "RaiseException", "no updates specified", None),
        ("select cron.unschedule(42)", "RaiseException", "could not find valid entry for job 42", None),
        ("select cron.unschedule('x')", "RaiseException", "could not find valid entry for job 'x'", None),
    ],
)
def test_what_is_wrong_is_said_in_pg_crons_words(
    owner: Connection, statement: str, error: str, message: str, detail: str | None
) -> None:
    with pytest.raises(getattr(psycopg.errors, error)) as caught:
        owner.execute(statement.encode())
    assert caught.value.diag.message_primary == message
    assert caught.value.diag.message_detail == detail


def test_of_nothing_nothing_is_removed(owner: Connection) -> None:
    found = one(owner, "select cron.unschedule((select jobid from cron.job where jobname = 'absent'))")
    assert found is None


def test_who_has_no_usage_of_the_schema_has_no_schedules(owner: Connection, database: DatabaseAccess) -> None:
    for role in ("anon", "authenticated", "service_role", "authenticator"):
        with (
            acting_as(database, role) as outsider,
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="schema cron"),
        ):
            outsider.execute("select cron.schedule('* * * * *', 'select 1')")


def test_one_user_neither_sees_nor_changes_anothers_schedules(
    database: DatabaseAccess, users: tuple[str, str], owner: Connection
) -> None:
    ada, bob = users
    with acting_as(database, ada) as hers, acting_as(database, bob) as his:
        number = one(hers, "select cron.schedule('mine', '* * * * *', 'select 1')")
        his.execute("select cron.schedule('mine', '0 * * * *', 'select 2')")
        assert his.execute("select username, command from cron.job").fetchall() == [(bob, "select 2")]
        for attempt in (f"cron.unschedule({number})", f"cron.unschedule({number}::bigint)"):
            with pytest.raises(psycopg.errors.RaiseException, match="could not find valid entry"):
                his.execute(f"select {attempt}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="alter_job"):
            his.execute("select cron.alter_job(%s, active := false)", [number])
        assert his.execute("update cron.job set command = 'x' where jobid = %s", [number]).rowcount == 0
        assert his.execute("delete from cron.job where jobid = %s", [number]).rowcount == 0
        for theft in (
            sql.SQL("insert into cron.job (schedule, command, username) values ('* * * * *', 'x', {})"),
            sql.SQL("update cron.job set username = {}"),
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="must be a member of role"):
                his.execute(theft.format(sql.Literal(ada)))
        for inner in ("cron.ticks", "cron.runs"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                his.execute(f"select * from {inner}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            his.execute("update cron.job set is_configured = true")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            his.execute("insert into cron.job_run_details (jobid, username) values (1, current_user)")
    assert one(owner, "select count(*) from cron.job") == 2


def test_a_role_with_bypassrls_still_needs_membership(database: DatabaseAccess, owner: Connection) -> None:
    owner.execute("select cron.schedule('mine', '* * * * *', 'select 1')")
    owner.execute("grant usage on schema cron to service_role")
    with acting_as(database, "service_role") as service:
        for change in ("delete from cron.job", "update cron.job set command = 'x'"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="member of role"):
                service.execute(change.encode())


def test_a_schedule_of_a_dropped_role_can_be_removed(database: DatabaseAccess, owner: Connection) -> None:
    owner.execute("create role cron_passing")
    owner.execute("grant cron_passing to postgres")
    owner.execute(
        "select cron.schedule_in_database('n', '* * * * *', 'select 1', current_database(), 'cron_passing')"
    )
    owner.execute("drop role cron_passing")
    assert owner.execute("delete from cron.job").rowcount == 1


def test_a_user_that_may_not_connect_has_no_schedule_there(
    database: DatabaseAccess, owner: Connection
) -> None:
    other = f"{database.dbname}_closed"
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(other)))
        try:
            connection.execute(
                sql.SQL("revoke connect on database {} from public").format(sql.Identifier(other))
            )
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="does not have CONNECT privilege"):
                owner.execute(
                    "select cron.schedule_in_database('n', '* * * * *', 'x', %s, 'authenticated')", [other]
                )
        finally:
            connection.execute(sql.SQL("drop database {}").format(sql.Identifier(other)))
