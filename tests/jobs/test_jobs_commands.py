"""`basalt queue` over a running project."""

import json

import psycopg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from basalt.cli.main import app
from basalt.jobs import JobError
from basalt.postgres import load_access
from tests.server import Server


def run(server: Server, command: str, *arguments: str, answer: str = "") -> Result:
    """`basalt queue COMMAND [QUEUE] DIR …`."""
    words = [*arguments[:1], str(server.project_dir), *arguments[1:]]
    if command in ("list", "stats"):
        words = [str(server.project_dir), *arguments]
    return CliRunner().invoke(app, ["queue", command, *words], env=dict(server.environ), input=answer)


@pytest.mark.req("P10")
def test_queues_are_looked_at_replayed_paused_and_purged(depot: Server) -> None:
    access = load_access(depot.project_dir / ".basalt")
    with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as connection:
        for number in range(3):
            connection.execute(
                "select basalt.enqueue('a.do', %s::jsonb, queue => 'cli')", [f'{{"n": {number}}}']
            )
        connection.execute(
            "insert into basalt.dead_jobs (id, queue, name, payload, priority, attempt, created_at, reason)"
            " select nextval('basalt.jobs_id_seq'), 'cli', 'a.die', '[]', 5, 10, now(), 'no\n[reason]' "
            "from generate_series(1, 2)"
        )
        listed = json.loads(run(depot, "list", "--json").stdout)
        assert [(row["ready"], row["dead"]) for row in listed if row["queue"] == "cli"] == [(3, 2)]
        peeked = run(depot, "peek", "cli", "--limit", "2")
        assert '{"n":0}' in peeked.stdout
        assert '{"n":2}' not in peeked.stdout
        assert r"no\n[reason]" in run(depot, "peek", "cli", "--state", "dead").stdout
        assert run(depot, "replay", "cli", "--limit", "1").stdout == "1 replayed.\n"
        assert run(depot, "purge", "cli", answer="n\n").exit_code == 1
        assert run(depot, "purge", "cli", "--yes").stdout == "4 waiting jobs deleted.\n"
        assert run(depot, "purge", "cli", "--dead", "--yes").stdout == "1 dead letters deleted.\n"
        assert run(depot, "pause", "cli").stdout == "cli is paused.\n"
        assert "cli (paused)" in run(depot, "list").stdout
        assert run(depot, "resume", "cli").stdout == "cli is at work.\n"
        assert run(depot, "stats").stdout == "Nothing.\n"
        unknown = run(depot, "peek", "nowhere")
        assert isinstance(unknown.exception, JobError)
        assert unknown.exception.message == "There is no queue nowhere"
