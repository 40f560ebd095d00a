"""`basalt notify` over a running project, whose worker does the work."""

import json
from uuid import UUID, uuid4

import pytest
from click.testing import Result
from psycopg.types.json import Jsonb
from typer.testing import CliRunner

from basalt.cli.main import app
from basalt.notify import NotifyError
from tests.notify.conftest import Connection, a_user
from tests.notify.test_service import until
from tests.server import Server

pytestmark = [pytest.mark.req("P13", "H27")]

ISSUE = "select public.issue_notification('told', %s, %s, scheduled_for => now() + make_interval(secs => %s))"
DONE = "select count(*) from public.notification_queue where event_id = %s and status = 'delivered'"


def run(server: Server, command: str, *arguments: str) -> Result:
    words = [*arguments[:1], str(server.project_dir), *arguments[1:]]
    if command in ("events", "stats"):
        words = [str(server.project_dir), *arguments]
    return CliRunner().invoke(app, ["notify", command, *words], env=dict(server.environ))


def an_event(sql: Connection, user_id: UUID, delay_s: float = 0) -> str:
    row = sql.execute(ISSUE, [user_id, Jsonb({"name": "Ann"}), delay_s]).fetchone()
    assert row is not None
    return str(row[0])


def count(sql: Connection, event: str) -> int:
    row = sql.execute(DONE, [event]).fetchone()
    assert row is not None
    return int(row[0])


def test_events_are_looked_at_sent_again_and_cancelled(notified: Server, sql: Connection) -> None:
    sql.execute(
        "select public.save_notification_template('told', 'in_app', 'Hello {{ name }}', subject => 'Told')"
    )
    ann = a_user(sql)
    event = an_event(sql, ann)
    until(lambda: count(sql, event) == 1)
    listed = json.loads(run(notified, "events", "--type", "told", "--json").stdout)
    assert (listed[0]["id"], listed[0]["queued"], listed[0]["problem"]) == (event, 1, None)
    assert event in run(notified, "events").stdout
    shown = run(notified, "show", event).stdout
    assert "expanded" in shown
    row = sql.execute("select id from public.notification_queue where event_id = %s", [event]).fetchone()
    assert row is not None
    message = json.loads(run(notified, "show", str(row[0]), "--json").stdout)
    assert (message["channel"], message["status"], message["payload"]["body"]) == (
        "in_app",
        "delivered",
        "Hello Ann",
    )
    assert run(notified, "resend", event).stdout == "0 sent again.\n"
    again = run(notified, "resend", str(row[0]))
    assert isinstance(again.exception, NotifyError)
    later = an_event(sql, ann, 3600)
    assert run(notified, "cancel", later).stdout == "Cancelled; 0 messages were stopped.\n"
    assert "cancelled" in run(notified, "show", later).stdout
    stats = json.loads(run(notified, "stats", "--json").stdout)
    assert [one["sent"] >= 1 for one in stats if one["channel"] == "in_app"] == [True]
    assert run(notified, "events", "--status", "bogus").exit_code == 2
    unknown = run(notified, "show", str(uuid4()))
    assert isinstance(unknown.exception, NotifyError)
