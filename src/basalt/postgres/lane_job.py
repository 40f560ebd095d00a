"""What goes through a lane: queries in, results out, and the job that carries one request's queries
through.
"""

from asyncio import Future
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from basalt.postgres.lane_statements import Prepared
from basalt.postgres.postgres_error import PostgresError

MAX_PARAMS = 65_535  # a 16-bit count in the Bind message


class Query(msgspec.Struct, frozen=True, gc=False):
    """One statement with `$1` parameters in text format, their types inferred by PostgreSQL.

    `prepare=False` parses it every time: for SQL that will not come again. `scope` separates prepared
    statements with the same SQL; pass the database role, because PostgreSQL plans a statement under row-level
    security anew whenever the role differs from that of the last plan, and checks `usage` on schemas only
    when it parses."""

    sql: str
    params: tuple[bytes | None, ...] = ()
    prepare: bool = True
    scope: str = ""


@dataclass(slots=True)
class Result:
    """`rows` in text format, the bytes of libpq; `command_tag` as in "INSERT 0 1"."""

    rows: list[tuple[bytes | None, ...]]
    command_tag: str


class Collect:
    """A step whose result belongs to the caller."""


class Discard:
    """A step that is Basalt's own: `begin`, `rollback`, closing a statement."""


COLLECT = Collect()
DISCARD = Discard()
Step = Collect | Discard | Prepared


class Job:
    """One request on its way: what was sent (`steps`, up to `syncs` syncs) and what has come back so far.

    A cancelled `future` is how a lane knows that nobody waits any more."""

    __slots__ = (
        "error",
        "exclusive",
        "exposed",
        "future",
        "is_own",
        "is_slow",
        "isolation",
        "plain",
        "position",
        "queries",
        "queued_at",
        "read_only",
        "rescued",
        "results",
        "rollback",
        "started_at",
        "steps",
        "syncs",
    )

    def __init__(
        self,
        queries: Sequence[Query],
        future: "Future[list[Result]]",
        *,
        exclusive: bool = False,
        rollback: bool = False,
        read_only: bool = False,
        isolation: str | None = None,
        plain: bool = False,
    ) -> None:
        self.queries = queries
        self.future = future
        self.exclusive = exclusive  # alone on its lane,
        self.is_own = False  # because the caller asked for it, not because the statement is known to be slow
        self.rollback = rollback
        self.read_only = read_only
        self.isolation = isolation
        self.plain = plain  # nothing prepared: the second attempt after a stale statement
        self.steps: list[Step] = []
        self.position = 0
        self.syncs = 2 if rollback or isolation else 1
        self.results: list[Result] = []
        self.error: PostgresError | None = None
        self.started_at = 0.0
        self.queued_at = 0.0
        self.exposed = False  # a cancel request for a neighbour may hit this one instead
        self.is_slow = False  # at the head for so long that nothing should queue behind it
        self.rescued = False  # a copy of it runs on another lane

    def again(self, *, plain: bool) -> "Job":
        """The same request for a second attempt; its first one was undone."""
        job = Job(
            self.queries,
            self.future,
            exclusive=self.exclusive,
            rollback=self.rollback,
            read_only=self.read_only,
            isolation=self.isolation,
            plain=plain,
        )
        job.is_own = self.is_own
        return job

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


def check_queries(queries: Sequence[Query]) -> int:
    """Refuse what libpq would cut short or choke on, before anything is sent; the answer is the size of the
    parameters in bytes. libpq passes text as C strings: everything after a NUL would silently be lost."""
    size = 0
    for query in queries:
        params = query.params
        if "\0" in query.sql:
            raise PostgresError("22021", 'invalid byte sequence for encoding "UTF8": 0x00')
        if len(params) > MAX_PARAMS:
            raise PostgresError(
                "54023", f"a statement takes at most {MAX_PARAMS} parameters, not {len(params)}"
            )
        for value in params:
            if value:
                size += len(value)
                if b"\0" in value:
                    raise PostgresError("22021", 'invalid byte sequence for encoding "UTF8": 0x00')
    return size


def encode_sql(sql: str) -> bytes:
    return sql.encode("utf-8", "surrogatepass")  # PostgreSQL refuses what is not UTF-8, with a clear 22021
