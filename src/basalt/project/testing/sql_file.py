"""One file of SQL tests, as role `postgres`.

A file is one transaction that is rolled back, unless it says `begin` itself, as those written for the Supabase CLI
do: then it decides, as under psql, and what it does before its `begin` is there for the files after it. What
installs pgTAP or the test helpers has nothing to do here and is passed over.
"""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.conninfo import make_conninfo

from basalt.errors import BasaltError
from basalt.postgres import (
    HARMLESS_COMMANDS,
    DatabaseAccess,
    ExtensionStatements,
    Statement,
    excerpt,
    line_of,
    split_statements,
)
from basalt.project.testing.finding import TestFile
from basalt.project.testing.results import FileResult
from basalt.project.testing.tap import parse_tap

Connection = psycopg.Connection[tuple[Any, ...]]

INSTALLS_TESTS: Final = re.compile(
    r"""\bextension\s+(if\s+(not\s+)?exists\s+)?"?(pgtap|pg_tle|supabase-dbdev|(basejump-)?supabase_test_helpers)\b"""
    r"|\b(pgtle|dbdev)\s*\.",
    re.IGNORECASE,
)
INCLUDE: Final = re.compile(r"\\(?:i|ir|include|include_relative)\s+'?([^'\s]+)'?\s*$")
MOST_INCLUDES: Final = 20


class FileError(BasaltError):
    """A statement that failed, with its place."""

    def __init__(self, message: str) -> None:
        super().__init__("test_file_failed", 500, message)


def run_sql_file(access: DatabaseAccess, test: TestFile, *, limit_s: float) -> FileResult:
    """Never raises for what is in the file."""
    started = time.monotonic()
    lines: list[str] = []
    problems: list[str] = []
    conninfo = make_conninfo(access.conninfo("postgres"), application_name="basalt test")
    with psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as connection:
        with _limited(connection, limit_s) as is_over:
            try:
                _Run(connection, test, lines, is_over).run()
            except FileError as error:
                late = f"did not end within {limit_s:g} seconds; it was at\n"
                problems.append((late if is_over.is_set() else "") + error.message)
            except psycopg.OperationalError as error:
                problems.append(f"the connection was lost: {str(error).strip()}")
        if not connection.closed:
            connection.rollback()
    tap = parse_tap(lines)
    # An error is the reason why the plan was not kept.
    problems += [] if problems else tap.problems
    return FileResult(
        file=test.shown,
        kind="sql",
        cases=tap.cases,
        problems=tuple(problems),
        duration_s=time.monotonic() - started,
    )


@contextmanager
def _limited(connection: Connection, limit_s: float) -> Iterator[threading.Event]:
    """The statement that runs when the time is up is cancelled; the event tells."""
    is_over = threading.Event()

    def end() -> None:
        is_over.set()
        connection.cancel_safe()

    timer = threading.Timer(limit_s, end)
    timer.start()
    try:
        yield is_over
    finally:
        timer.cancel()
        timer.join()


class _Run:
    """One run of one file. `lines` are what its queries answered."""

    def __init__(
        self, connection: Connection, test: TestFile, lines: list[str], is_over: threading.Event
    ) -> None:
        self._connection = connection
        self._test = test
        self._lines = lines
        self._is_over = is_over
        self._extensions = ExtensionStatements(connection)
        self._is_wrapped = False
        self._includes = 0

    def run(self) -> None:
        try:
            with self._test.path.open(encoding="utf-8-sig", newline="") as source:
                decides = any(statement.kind == "begin" for statement in split_statements(source))
        except (OSError, UnicodeDecodeError) as error:
            raise FileError(f"cannot be read: {error}") from error
        if not decides:
            self._connection.execute("begin")
            self._is_wrapped = True
        self._run_file(self._test.path, "")

    def _run_file(self, path: Path, within: str) -> None:
        try:
            with path.open(encoding="utf-8-sig", newline="") as source:
                for statement in split_statements(source):
                    self._step(statement, path, within)
        except (OSError, UnicodeDecodeError) as error:
            raise FileError(f"{path.name} cannot be read: {error}") from error

    def _step(self, statement: Statement, path: Path, within: str) -> None:
        if self._is_over.is_set():  # between two statements
            raise FileError(_place(statement, statement.line, "not run any more", within))
        match statement.kind:
            case "comment":
                return
            case "psql":
                self._command(statement, path, within)
            case "commit" | "rollback" if self._is_wrapped:
                reason = (
                    f"`{statement.text}` without `begin`: the file is one transaction, rolled back at its end"
                )
                raise FileError(_place(statement, statement.line, reason, within))
            case _ if INSTALLS_TESTS.search(statement.text):
                return
            case "extension":
                decision = self._extensions.decide(statement.text)
                if decision.error:
                    raise FileError(_place(statement, statement.line, decision.error, within))
                if decision.is_run:
                    self._execute(statement, decision.text or statement.text, within)
            case _:
                self._execute(statement, statement.text, within)

    def _command(self, statement: Statement, path: Path, within: str) -> None:
        """A line for psql: another file is run, what only changes the output is passed over."""
        if included := INCLUDE.match(statement.text):
            self._includes += 1
            if self._includes > MOST_INCLUDES:
                raise FileError(_place(statement, statement.line, "files include each other", within))
            self._run_file(path.parent / included[1], f"{included[1]}, ")
            return
        words = statement.text[1:].split()
        if not words or words[0] not in HARMLESS_COMMANDS:
            reason = f"{statement.text.split()[0]} is a command to psql, not SQL"
            raise FileError(_place(statement, statement.line, reason, within))

    def _execute(self, statement: Statement, text: str, within: str) -> None:
        try:
            with self._connection.cursor() as cursor:
                if statement.copy_lines is not None:
                    with cursor.copy(text.encode()) as copy:
                        for piece in statement.copy_lines:
                            copy.write(piece)
                    return
                cursor.execute(text.encode())
                self._collect(cursor)
        except psycopg.OperationalError as error:
            if error.sqlstate is None:
                raise
            raise FileError(_describe(statement, error, within)) from error
        except psycopg.Error as error:
            raise FileError(_describe(statement, error, within)) from error

    def _collect(self, cursor: psycopg.Cursor[tuple[Any, ...]]) -> None:
        result = cursor.pgresult
        if result is None:
            return
        for row in range(result.ntuples):
            cells = (result.get_value(row, column) or b"" for column in range(result.nfields))
            self._lines += b"|".join(cells).decode("utf-8", "replace").split("\n")


def _describe(statement: Statement, error: psycopg.Error, within: str) -> str:
    told = error.diag
    reason = (told.message_primary or str(error)).strip() + (f" ({error.sqlstate})" if error.sqlstate else "")
    about = [f"Detail: {told.message_detail}"] if told.message_detail else []
    about += [f"Hint: {told.message_hint}"] if told.message_hint else []
    return "\n".join([_place(statement, line_of(statement, told), reason, within), *about])


def _place(statement: Statement, line: int, reason: str, within: str) -> str:
    return f"{within}line {line}: {reason}\n{excerpt(statement, line)}"
