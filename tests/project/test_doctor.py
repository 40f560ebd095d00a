"""`basalt doctor` on a database that ails, on one that is well, and on a project that is stopped."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from basalt.cli.main import app
from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess, SqlCheck
from basalt.project import Examination, check_names, examine
from basalt.project.doctor import examination, secrets
from tests.projects import settings_of, write_project

pytestmark = [pytest.mark.req("P17")]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path, {})


def looked_at(project: Path, access: DatabaseAccess | None, *only: str) -> Examination:
    return examine(settings_of(project), access, only=only, why_without="it does not run")


def facts(seen: Examination) -> set[tuple[str, str, str]]:
    return {(finding.check, finding.severity, finding.subject) for finding in seen.findings}


@contextmanager
def session(database: DatabaseAccess, name: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.conninfo("postgres"), application_name=name) as connection:
        yield connection


def execute(database: DatabaseAccess, *statements: str) -> None:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_a_new_project_is_well(project: Path, database: DatabaseAccess) -> None:
    seen = looked_at(project, database)
    serious = [
        finding
        for finding in seen.findings
        if finding.severity != "info" and finding.check not in ("postgresql_settings", "disk_space")
    ]
    assert serious == []  # the tests' cluster runs without fsync, on a disk that anybody may fill
    assert seen.unseen == []
    assert set(seen.looked) == {name for names in check_names().values() for name in names}


def test_it_tells_who_holds_connections(project: Path, database: DatabaseAccess) -> None:
    with session(database, "reports") as one, session(database, "reports") as two:
        one.execute("select 1")
        two.execute("select 1")
        [finding] = looked_at(project, database, "connection_use").findings
    assert "2 × postgres/reports idle in transaction" in finding.what
    assert "of 1" in finding.what  # the cluster's limit


def test_it_tells_who_waits_for_whom(project: Path, database: DatabaseAccess) -> None:
    execute(
        database,
        "create table public.seats (id int primary key, taken int)",
        "insert into public.seats values (1, 0)",
    )
    with session(database, "booking") as holder, session(database, "waiting") as waiter:
        holder.execute("update public.seats set taken = 1")
        blocked = threading.Thread(
            target=lambda: waiter.execute("update public.seats set taken = 2 -- 'not-to-be-shown'")
        )
        blocked.start()
        try:
            findings = []
            while not findings:
                findings = list(looked_at(project, database, "blocked").findings)
        finally:
            holder.rollback()
            blocked.join()
            waiter.rollback()
        [finding] = findings
        assert "not-to-be-shown" not in finding.what
        assert finding.subject == f"pid {waiter.info.backend_pid}"
        assert f"of pid {holder.info.backend_pid} (postgres/booking, idle in transaction)" in finding.what
        assert finding.remedy == f"select pg_terminate_backend({holder.info.backend_pid});"


def test_it_tells_of_a_slot_that_keeps_log(project: Path, database: DatabaseAccess) -> None:
    slot = f"left_behind_{database.dbname}"
    execute(database, f"select pg_create_physical_replication_slot('{slot}', true)")
    try:
        seen = looked_at(project, database, "replication")
        [finding] = [each for each in seen.findings if each.check == "replication_slots"]
        assert (finding.subject, finding.severity) == (slot, "warning")
        assert finding.what.startswith("is inactive and keeps ")
        execute(database, finding.remedy)
        assert "replication_slots" not in {each.check for each in looked_at(project, database).findings}
    finally:
        execute(
            database,
            f"select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '{slot}'",
        )


def test_it_tells_of_jobs_schedules_and_webhooks_that_failed(project: Path, database: DatabaseAccess) -> None:
    execute(
        database,
        "create extension if not exists pg_cron",
        "select basalt.enqueue('resize', run_at => now() - interval '2 hours')",
        "update basalt.jobs set run_at = now() - interval '2 hours'",
        "insert into basalt.dead_jobs (id, queue, name, payload, priority, attempt, created_at, reason) "
        "values (1, 'mails', 'welcome', '{}', 5, 10, now(), 'no such template')",
        "select cron.schedule('digest', '0 9 * * *', 'select 1/0')",
        "insert into cron.job_run_details (jobid, status, return_message, start_time, end_time) "
        "select jobid, 'failed', 'division by zero', now(), now() from cron.job",
        "insert into basalt.dead_webhooks (id, webhook_id, hook_name, table_name, method, url, headers, "
        "timeout_milliseconds, attempt, created_at, reason) values (1, gen_random_uuid(), 'told', 'public.orders', "
        "'POST', 'https://example.com', '{}', 5000, 8, now(), 'status 500')",
    )
    seen = looked_at(project, database, "jobs", "cron", "webhooks")
    assert facts(seen) == {
        ("queue_age", "error", "default"),
        ("dead_letters", "warning", "mails: welcome"),
        ("cron_failures", "warning", "digest"),
        ("webhooks_given_up", "warning", "told on public.orders"),
    }
    assert seen.has_errors
    told = " ".join(finding.what for finding in seen.findings)
    assert "no such template" in told
    assert "division by zero" in told


def test_settings_that_are_wrong_in_public_are_told_in_public_only(tmp_path: Path) -> None:
    config = """
        [api]
        external_url = "http://api.example.com"
        [auth]
        jwt_secret = "super-secret-jwt-token-with-at-least-32-characters-long"
        additional_redirect_urls = ["https://*/**"]
        jwt_expiry = 604800
        [auth.sms.test_otp]
        4915112345678 = "123456"
        [notify]
        enabled = true
        environment = "sandbox"
        [notify.providers.resend]
        api_key = "re_same"
        from = "shop@example.com"
        [notify.sandbox.resend]
        api_key = "re_same"
        from = "shop@example.com"
        [functions.hook]
        verify_jwt = false
        [basalt]
        log_level = "debug"
        colour = "blue"
    """
    project = write_project(tmp_path, {"config.toml": config})
    seen = looked_at(project, None, "config")
    assert facts(seen) >= {
        ("known_secrets", "error", "auth.jwt_secret"),
        ("literal_secrets", "warning", "auth.jwt_secret"),
        ("literal_secrets", "warning", "notify.providers.resend.api_key"),
        ("unknown_settings", "warning", "basalt.colour"),
        ("addresses", "error", "api.external_url"),
        ("addresses", "error", "auth.site_url"),
        ("addresses", "error", "auth.additional_redirect_urls"),
        ("mail_delivery", "error", "auth.email.smtp"),
        ("sign_in", "warning", "auth.jwt_expiry"),
        ("sign_in", "error", "auth.sms.test_otp"),
        ("environments", "error", "notify.sandbox.resend.api_key"),
        ("environments", "warning", "notify.environment"),
        ("open_functions", "info", "functions.hook.verify_jwt"),
        ("log_level", "warning", "basalt.log_level"),
        ("backups", "warning", "basalt.backup.target"),
        ("limits", "warning", "basalt.client_address_header"),
    }
    assert "re_same" not in str(seen)
    assert "super-secret" not in str(seen)
    write_project(
        project, {"config.toml": config.replace("http://api.example.com", "http://127.0.0.1:54321")}
    )
    checks = {(finding.check, finding.subject) for finding in looked_at(project, None, "config").findings}
    assert not checks & {("addresses", "auth.site_url"), ("mail_delivery", "auth.email.smtp")}


def test_a_stopped_project_is_examined_by_its_settings_and_says_so(project: Path) -> None:
    seen = looked_at(project, None)
    assert [each.reason for each in seen.unseen] == ["it does not run"]
    assert "rls_disabled_in_public" not in seen.looked
    assert "disk_space" in seen.looked


def test_a_name_that_is_no_check_is_refused(project: Path) -> None:
    with pytest.raises(BasaltError, match="There is no check rsl"):
        looked_at(project, None, "rsl")


def test_a_database_that_is_away_is_an_error_of_its_own(project: Path, database: DatabaseAccess) -> None:
    away = DatabaseAccess("127.0.0.1", 1, "postgres", {"supabase_admin": "not-to-be-shown"})
    seen = looked_at(project, away)
    assert ("database_reachable", "error", "127.0.0.1:1/postgres") in facts(seen)
    assert "not-to-be-shown" not in str(seen)


def test_tables_of_the_project_with_a_modules_names_hide_nothing(
    project: Path, database: DatabaseAccess
) -> None:
    execute(
        database,
        "create table public.notification_queue (id int primary key)",
        "create table public.notification_events (id int primary key)",
    )
    seen = looked_at(project, database)
    assert {each.what for each in seen.unseen} == {"notifications_late", "notification_events_failed"}
    assert ("rls_disabled_in_public", "error", "public.notification_queue") in facts(seen)
    assert len(seen.looked) + len(seen.unseen) == sum(map(len, check_names().values()))


def test_a_table_that_is_locked_does_not_pass_for_a_database_that_is_away(
    project: Path, database: DatabaseAccess
) -> None:
    with psycopg.connect(database.conninfo("supabase_admin")) as holder:
        holder.execute("lock table basalt.dead_webhooks")
        seen = looked_at(project, database, "webhooks", "indexes")
    assert [each.what for each in seen.unseen] == ["webhooks_given_up"]
    assert "database_reachable" not in {finding.check for finding in seen.findings}
    assert "duplicate_index" in seen.looked


def test_a_database_that_goes_away_midway_is_told_with_what_was_not_seen(
    project: Path, database: DatabaseAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = SqlCheck(
        name="ends",
        group="server",
        severity="info",
        title="",
        why="",
        statement="select pg_terminate_backend(pg_backend_pid())",
    )
    checks = examination.DATABASE_CHECKS
    monkeypatch.setattr(examination, "DATABASE_CHECKS", [*checks[:3], end, *checks[3:]])
    seen = looked_at(project, database)
    assert "database_reachable" in {finding.check for finding in seen.findings}
    assert checks[2].name in seen.looked
    assert [each.reason for each in seen.unseen] == ["the database was away"]
    assert checks[3].name in seen.unseen[0].what


def test_a_file_that_cannot_be_read_hides_no_other_check(
    project: Path, database: DatabaseAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(secrets, "find_literal_secrets", refuse)
    seen = looked_at(project, None, "config")
    assert [each.what for each in seen.unseen] == [
        "literal_secrets",
    ]
    assert "work_switched_off" in seen.looked


def test_a_role_without_rights_says_what_it_could_not_see(project: Path, database: DatabaseAccess) -> None:
    """As on a managed server: the owner of the URL is no superuser and not in pg_monitor."""
    role = f"owner_of_{database.dbname}"
    execute(database, f"create role {role} login password 'secret'")
    try:
        owner = DatabaseAccess(
            database.host, database.port, database.dbname, {role: "secret"}, database.socket_dir, owner=role
        )
        seen = looked_at(project, owner)
        assert "what sessions of other roles do" in {each.what for each in seen.unseen}
        assert "queue_age" in {each.what for each in seen.unseen}  # schema basalt is not theirs
        with session(database, "reports"):
            [use] = looked_at(project, owner, "connection_use").findings
        assert "postgres/reports (hidden)" in use.what  # whose they are is shown, what they do is not
        assert "rls_disabled_in_public" in seen.looked
    finally:
        execute(database, f"drop role {role}")


def test_the_command_prints_json_and_exits_with_1_for_errors(
    tmp_path: Path, database: DatabaseAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = write_project(tmp_path / "p", {})
    monkeypatch.setenv("DATABASE_URL", database.url("supabase_admin"))
    runner = CliRunner()
    well = runner.invoke(app, ["doctor", str(project), "--only", "security", "--json"])
    assert (well.exit_code, json.loads(well.stdout)["findings"]) == (0, [])
    execute(database, "create table public.notes (id int primary key)")
    ill = runner.invoke(app, ["doctor", str(project), "--only", "security", "--json"])
    report = json.loads(ill.stdout)
    assert (ill.exit_code, report["ok"]) == (1, False)
    assert [finding["subject"] for finding in report["findings"]] == ["public.notes"]
    text = runner.invoke(app, ["doctor", str(project), "--only", "security,policies"])
    assert text.exit_code == 1
    assert "public.notes has no row-level security" in text.stdout
    assert "→ alter table public.notes enable row level security;" in text.stdout
    assert runner.invoke(app, ["doctor", "--list"]).stdout.startswith("config ")


def test_an_address_without_a_password_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = write_project(tmp_path, {})
    monkeypatch.setenv("DATABASE_URL", "postgresql://ada@127.0.0.1:1/postgres")
    result = CliRunner().invoke(app, ["doctor", str(project), "--only", "locks", "--json"])
    assert (result.exit_code, result.exception.__class__) == (1, SystemExit)
    assert [finding["check"] for finding in json.loads(result.stdout)["findings"]] == ["database_reachable"]
    assert [path.name for path in tmp_path.iterdir()] == ["supabase"]
