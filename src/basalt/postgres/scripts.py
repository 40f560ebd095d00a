"""Running one file of SQL, a migration or a seed, as role `postgres`.

A file is one transaction together with the row that records it, unless it says otherwise: by its own
`commit`, by a statement that PostgreSQL refuses inside a transaction (`create index concurrently`), or by
the comment `-- basalt: no-transaction` before its first statement. What goes wrong becomes a `MigrationError`
that names the file, the line and the statement, and says what of the file stays.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import psycopg

from basalt.postgres.extension_statements import ExtensionStatements
from basalt.postgres.migration_error import MigrationError, excerpt, line_of, shorten
from basalt.postgres.statements import Statement, split_statements

Connection = psycopg.Connection[tuple[Any, ...]]

# Commands to psql that change nothing in the database.
HARMLESS_COMMANDS = frozenset(
    ("c", "connect", "echo", "encoding", "pset", "qecho", "restrict", "set", "timing", "unrestrict", "unset")
)

# What dumps say of another server. PostgreSQL 17 and later write its timeout into the first lines, and a data
# dump of an older Supabase sets the one sequence of pgsodium, which nothing uses.
_NEWER_SETTING = re.compile(r"set\s+(?:session\s+|local\s+)?transaction_timeout\b", re.IGNORECASE)
NEWER_SETTING_SINCE = 170000
_PGSODIUM_SEQUENCE = re.compile(r"select\s+(?:pg_catalog\.)?setval\('\"?pgsodium\"?\.", re.IGNORECASE)
HAS_PGSODIUM_SEQUENCE = b"select pg_catalog.to_regclass('pgsodium.key_key_id_seq') is not null"

_NO_TRANSACTION = re.compile(r"^--\s*basalt:\s*no[- ]transaction\s*$", re.MULTILINE | re.IGNORECASE)

RESET_SESSION = "reset role; reset all; discard temp"


@dataclass(frozen=True, slots=True)
class Progress:
    """One step worth telling: `file` is its path below the project, `detail` a sentence."""

    kind: Literal["applying", "applied", "seeding", "seeded", "skipped", "warning"]
    file: str
    detail: str = ""
    duration_s: float = 0.0


OnProgress = Callable[[Progress], None]


def run_script(
    connection: Connection,
    path: Path,
    *,
    shown: str,
    extensions: ExtensionStatements,
    warn: Callable[[str], None],
    record: Callable[[list[str]], None],
    keep_sources: bool = True,
) -> None:
    """Runs the file at `path`; `shown` is its name in messages. `record` is called with the statements' texts
    (none with `keep_sources=False`) inside the file's last transaction. The connection is in autocommit."""
    connection.execute(RESET_SESSION.encode())
    script = _Script(connection, shown, extensions, warn, keep_sources=keep_sources)
    try:
        with path.open(encoding="utf-8-sig", newline="") as source:
            script.run(split_statements(source), record)
    except UnicodeDecodeError as exc:
        raise MigrationError(shown, f"The file is not valid UTF-8: {exc.reason}.") from exc
    except OSError as exc:
        raise MigrationError(shown, f"The file cannot be read: {exc.strerror}.") from exc
    finally:
        script.undo()


class _Script:
    """One run of one file. `is_open` says that a transaction is, `is_own` that the file began it itself."""

    def __init__(
        self,
        connection: Connection,
        shown: str,
        extensions: ExtensionStatements,
        warn: Callable[[str], None],
        *,
        keep_sources: bool,
    ) -> None:
        self._connection = connection
        self._shown = shown
        self._extensions = extensions
        self._warn = warn
        self._sources: list[str] | None = [] if keep_sources else None
        self._has_transactions = True
        self._is_open = self._is_own = False
        self._kept_line: int | None = None

    def run(self, statements: Iterator[Statement], record: Callable[[list[str]], None]) -> None:
        statement = following = next(statements, None)
        if statement and _NO_TRANSACTION.search(statement.leading):
            self._has_transactions = False
        while statement := following:
            if self._sources is not None:
                self._sources.append(statement.source)
            if statement.kind == "commit":
                following = next(statements, None)
                if following is None or following.kind == "comment":
                    break
                self._commit(statement)
            else:
                self._step(statement)
                following = next(statements, None)
        if following is not None and following is not statement and self._sources is not None:
            self._sources.append(following.source)
        self._finish(statement, record)

    def undo(self) -> None:
        """Ends what is still open, after an error."""
        if not self._connection.closed and self._connection.info.transaction_status != 0:
            self._connection.rollback()

    def _step(self, statement: Statement) -> None:
        match statement.kind:
            case "comment":
                return
            case "plain" if self._is_of_another_server(statement.text):
                return
            case "psql":
                self._pass_over(statement)
            case "begin":
                self._begin(statement)
            case "rollback":
                self._execute(statement)
                self._is_open = self._is_own = False
            case "standalone" if not self._is_own:
                self._commit(statement)
                self._execute(statement)
                self._kept_line = statement.line
            case "extension":
                self._ensure_open()
                self._change_extension(statement)
            case _:
                self._ensure_open()
                self._execute(statement)
                if not self._has_transactions and not self._is_own:
                    self._kept_line = statement.line

    def _begin(self, statement: Statement) -> None:
        """The file's own `begin` takes over a transaction that is open already, as in a pipeline of the
        Supabase CLI: what precedes it belongs to it."""
        if not self._is_open:
            self._execute(statement)
        self._is_open = self._is_own = True

    def _commit(self, statement: Statement) -> None:
        if self._is_open:
            self._send(b"commit", statement)
            self._kept_line = statement.line
        self._is_open = self._is_own = False

    def _ensure_open(self) -> None:
        if not self._is_open and self._has_transactions:
            self._connection.execute(b"begin")
            self._is_open = True

    def _finish(self, last: Statement | None, record: Callable[[list[str]], None]) -> None:
        last = last or Statement("commit", 1, "commit")
        try:
            if not self._is_open:
                self._connection.execute(b"begin")
            self._connection.execute(b"reset role")
            record(self._sources or [])
        except psycopg.Error as exc:
            raise self._postgres_error(last, exc) from exc
        self._send(b"commit", last)

    def _pass_over(self, statement: Statement) -> None:
        command = statement.text[1:].split(maxsplit=1)[0] if statement.text[1:].strip() else ""
        if command not in HARMLESS_COMMANDS:
            raise self._error(
                statement,
                f"\\{command} is a command to psql, not SQL.",
                hint="Write what it stands for as SQL; other files are included by migrations of their own.",
            )

    def _is_of_another_server(self, text: str) -> bool:
        if _NEWER_SETTING.match(text):
            return self._connection.info.server_version < NEWER_SETTING_SINCE
        if _PGSODIUM_SEQUENCE.match(text):
            row = self._connection.execute(HAS_PGSODIUM_SEQUENCE).fetchone()
            return row is not None and not row[0]
        return False

    def _change_extension(self, statement: Statement) -> None:
        decision = self._extensions.decide(statement.text)
        if decision.error:
            raise self._error(statement, decision.error, hint=decision.hint)
        if decision.warning:
            self._warn(f"{self._shown}, line {statement.line}: {decision.warning}")
        if decision.is_run:
            self._execute(replace(statement, text=decision.text or statement.text))

    def _execute(self, statement: Statement) -> None:
        if "\0" in statement.text:
            raise self._error(statement, "The statement contains a NUL character.")
        if statement.copy_lines is None:
            self._send(statement.text.encode(), statement)
            return
        try:
            with self._connection.cursor() as cursor, cursor.copy(statement.text.encode()) as copy:
                for piece in statement.copy_lines:
                    copy.write(piece)
        except psycopg.Error as exc:
            raise self._postgres_error(statement, exc) from exc

    def _send(self, sql: bytes, statement: Statement) -> None:
        try:
            self._connection.execute(sql)
        except psycopg.Error as exc:
            raise self._postgres_error(statement, exc) from exc

    def _postgres_error(self, statement: Statement, exc: psycopg.Error) -> MigrationError:
        diagnostic = exc.diag
        return self._error(
            statement,
            diagnostic.message_primary or str(exc).strip(),
            line=line_of(statement, diagnostic),
            sqlstate=diagnostic.sqlstate,
            detail=diagnostic.message_detail,
            hint=diagnostic.message_hint,
        )

    def _error(
        self,
        statement: Statement,
        reason: str,
        *,
        line: int | None = None,
        sqlstate: str | None = None,
        detail: str | None = None,
        hint: str | None = None,
    ) -> MigrationError:
        line = line or statement.line
        return MigrationError(
            self._shown,
            reason,
            line=line,
            statement=shorten(statement.text),
            shown=excerpt(statement, line),
            sqlstate=sqlstate,
            detail=detail,
            hint=hint,
            kept_line=self._kept_line,
        )
