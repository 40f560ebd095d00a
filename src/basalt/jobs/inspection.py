"""What an operator asks of queues, for the command line."""

from collections.abc import Sequence
from typing import Any, Literal, LiteralString

import psycopg
from psycopg.rows import dict_row

from basalt.jobs.errors import JobError
from basalt.postgres import DatabaseAccess

JobState = Literal["ready", "scheduled", "running", "dead", "finished"]

LIST_QUEUES = """
select s.*, q.concurrency, q.rate_per_s, q.max_depth
from basalt.queue_stats() as s join basalt.queues as q on q.name = s.queue order by s.queue
"""
LIST_MINUTES = """
select c.minute, sum(c.finished)::bigint as finished, sum(c.retried)::bigint as retried, sum(c.dead)::bigint as dead
from basalt.job_counts as c
where (%(queue)s::text is null or c.queue = %(queue)s) and c.minute > now() - make_interval(mins => %(minutes)s)
group by c.minute order by c.minute
"""
PEEKS: dict[JobState, LiteralString] = {
    "ready": "select id, name, priority, attempt, run_at, payload, last_error from basalt.jobs "
    "where queue = %(queue)s and state = 'ready' order by priority, position limit %(most)s",
    "scheduled": "select id, name, priority, attempt, run_at, payload, last_error from basalt.jobs "
    "where queue = %(queue)s and state = 'scheduled' order by run_at limit %(most)s",
    "running": "select id, name, priority, attempt, progress, progress_note, lease_until, payload from basalt.jobs "
    "where queue = %(queue)s and state = 'running' order by lease_until limit %(most)s",
    "dead": "select id, name, attempt, died_at, reason, payload from basalt.dead_jobs "
    "where queue = %(queue)s order by died_at desc limit %(most)s",
    "finished": "select id, name, state, attempt, finished_at, result from basalt.finished_jobs "
    "where queue = %(queue)s and keep_until > now() order by finished_at desc limit %(most)s",
}


def list_queues(access: DatabaseAccess) -> list[dict[str, Any]]:
    """`basalt.queue_stats()` and the limits of each queue."""
    return _fetch(access, LIST_QUEUES)


def list_minutes(access: DatabaseAccess, queue: str | None, minutes: int) -> list[dict[str, Any]]:
    """How attempts ended, by the minute; of one queue or of all."""
    return _fetch(access, LIST_MINUTES, {"queue": queue, "minutes": minutes})


def peek_jobs(access: DatabaseAccess, queue: str, state: JobState, most: int) -> list[dict[str, Any]]:
    """The next jobs of a queue in that state; of dead and finished ones the last. Raises JobError."""
    _check_queue(access, queue)
    return _fetch(access, PEEKS[state], {"queue": queue, "most": most})


def replay_dead(
    access: DatabaseAccess, queue: str | None, name: str | None, ids: Sequence[int], most: int | None
) -> int:
    """See `basalt.replay_dead`."""
    if queue is not None:
        _check_queue(access, queue)
    params = {"queue": queue, "name": name, "ids": list(ids) or None, "most": most}
    statement: LiteralString = (
        "select basalt.replay_dead(%(queue)s, %(name)s, %(ids)s::bigint[], %(most)s) as count"
    )
    return int(_fetch(access, statement, params)[0]["count"])


def purge_queue(access: DatabaseAccess, queue: str, what: Literal["waiting", "dead", "finished"]) -> int:
    """See `basalt.purge_queue`."""
    _check_queue(access, queue)
    params = {"queue": queue, "what": what}
    return int(_fetch(access, "select basalt.purge_queue(%(queue)s, %(what)s) as count", params)[0]["count"])


def pause_queue(access: DatabaseAccess, queue: str, *, paused: bool) -> None:
    """Pause or resume; a queue may be paused before its first job."""
    if paused:
        _fetch(access, "select basalt.pause_queue(%(queue)s)", {"queue": queue})
    else:
        _check_queue(access, queue)
        _fetch(access, "select basalt.resume_queue(%(queue)s)", {"queue": queue})


def _check_queue(access: DatabaseAccess, queue: str) -> None:
    known = [row["name"] for row in _fetch(access, "select name from basalt.queues order by name")]
    if queue not in known:
        raise JobError(
            "queue_unknown", 404, f"There is no queue {queue}", hint=f"There are: {', '.join(known)}"
        )


def _fetch(
    access: DatabaseAccess, statement: LiteralString, params: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    with (
        psycopg.connect(access.conninfo("postgres"), autocommit=True) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        return cursor.execute(statement, params).fetchall()
