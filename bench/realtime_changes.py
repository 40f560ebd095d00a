"""Writes rows whose changes are to be delivered, and reads the log alone for comparison."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import uvloop

from basalt.postgres import load_access
from basalt.realtime.changes.log.stream import ReplicationStream

USER_ID = "('00000000-0000-4000-8000-' || lpad((n % {subscribers})::text, 12, '0'))::uuid"
TITLE = "repeat('a title of forty characters, more or less ', 2)"


@dataclass(frozen=True)
class Policy:
    """Who sees the rows of a table. `insert` adds the `n`th one; `is_own`: it is for one subscriber alone."""

    name: str
    table: str
    insert: str
    is_own: bool = False
    raising: int = 0

    def receivers(self, subscribers: int) -> int:
        """Of each change, among so many subscribers."""
        return 1 if self.is_own else subscribers - self.raising


OPEN = Policy("no RLS", "open_changes", f"insert into public.open_changes (title) values ({TITLE})")
OWN = Policy(
    "RLS, own rows",
    "own_changes",
    f"insert into public.own_changes (owner, title) values ({USER_ID}, {TITLE})",
    is_own=True,
)
TEAM = Policy(
    "RLS, membership",
    "team_changes",
    f"insert into public.team_changes (team_id, title) values (1, {TITLE})",
)
RAISING = Policy(
    "RLS, raising for 50 more",
    "raising_changes",
    f"insert into public.raising_changes (team_id, title) values (1, {TITLE})",
    raising=50,
)

SEND = "perform realtime.send('{{\"text\": \"a payload of some length, as messages have it\"}}', 'note', 'news', false)"
COMMIT_EACH = "do $$ begin for n in 1..{count} loop {statement}; commit; end loop; end $$"


class Writer:
    """`conninfo`: of whoever may write everything."""

    def __init__(self, project_dir: Path) -> None:
        self._conninfo = load_access(project_dir / ".basalt").conninfo("supabase_admin")

    @contextmanager
    def writing(self, statement: str, count: int, subscribers: int = 1) -> Iterator[None]:
        """Meanwhile `count` transactions of one statement each are committed, as fast as PostgreSQL can:
        without waiting for the disk, which is not what is measured."""
        statement = statement.format(subscribers=subscribers)
        sql = COMMIT_EACH.format(count=count, statement=statement)
        with running(lambda: self._execute(sql)):
            yield

    @contextmanager
    def writing_steadily(
        self, statement: str, count: int, rate: float, subscribers: int = 1
    ) -> Iterator[None]:
        """`count` transactions, `rate` a second."""
        statement = statement.format(subscribers=subscribers).replace("n %", "%(n)s::bigint %%")
        with running(lambda: self._execute_steadily(statement, count, rate)):
            yield

    def _execute(self, sql: str) -> None:
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            connection.execute("set synchronous_commit = off")
            connection.execute(sql.encode())

    def _execute_steadily(self, statement: str, count: int, rate: float) -> None:
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            started = time.perf_counter()
            for n in range(count):
                time.sleep(max(0.0, started + n / rate - time.perf_counter()))
                connection.execute(statement.encode(), {"n": n})

    def decode_rate(self, statement: str, count: int) -> float:
        """Changes a second of the stream alone: they are written first, then read."""
        return uvloop.run(self._decode(statement, count))

    async def _decode(self, statement: str, count: int) -> float:
        stream = ReplicationStream(self._conninfo)
        await stream.open()
        try:
            with self.writing(statement, count):
                pass
            started, read = time.perf_counter(), 0
            async with asyncio.timeout(60):
                while read < count:
                    read += sum(len(transaction.changes) for transaction in await stream.read())
            return count / (time.perf_counter() - started)
        finally:
            await stream.close()


@contextmanager
def running(work: Callable[[], None]) -> Iterator[None]:
    """In a thread, which has ended afterwards; what it raises is raised here."""
    failures: list[Exception] = []

    def run() -> None:
        try:
            work()
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failures:
        raise failures[0]
