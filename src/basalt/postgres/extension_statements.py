"""`create`, `drop`, `alter` and `comment on extension` in a migration or seed: run, left out, or refused.

`extension_policy` knows each name; here it meets the statement (design §5): a name that Basalt provides or
can do without is left out, one that nobody has is an error before PostgreSQL's own, and what belongs to the
platform is not dropped or changed by a dump of another server. Versions of what Basalt brings itself are its own:
`supabase db diff` writes those of another server.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from basalt.late import LateModule
from basalt.postgres.extensions import OWN_EXTENSIONS, debian_package, extension_policy

if TYPE_CHECKING:
    import pglast
    from pglast import ast, parser, stream
else:  # for the migrations that name an extension
    pglast = LateModule("pglast")
    ast = LateModule("pglast.ast")
    parser = LateModule("pglast.parser")
    stream = LateModule("pglast.stream")

AVAILABLE = "select name from pg_catalog.pg_available_extensions"
INSTALLED = """
select pg_catalog.pg_has_role(current_user, extowner, 'usage') from pg_catalog.pg_extension where extname = %s
"""

MOVES = """
select from pg_catalog.pg_proc as p join pg_catalog.pg_roles as r on r.oid = p.proowner
where p.oid = to_regprocedure('basalt.move_extension(text, text)') and r.rolsuper
    and has_function_privilege(p.oid, 'execute')
"""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the statement is sent, as `text` where that is set, and what is said about it; an `error` stops the
    file."""

    is_run: bool
    text: str | None = None
    warning: str | None = None
    error: str | None = None
    hint: str | None = None


class ExtensionStatements:
    """The decisions for one connection; each extension is warned of once."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._connection = connection
        self._available = frozenset(row[0] for row in connection.execute(AVAILABLE))
        self._warned: set[str] = set()

    def decide(self, text: str) -> Decision:
        if name := created_extension(text):
            return self._decide_create(name, text)
        names = changed_extensions(text)
        owned = {name: self._is_owned(name) for name in names}
        if any(owner is False for owner in owned.values()):
            kept = ", ".join(name for name, owner in owned.items() if owner is False)
            if text[:7].lower() == "comment":
                return Decision(is_run=False)
            return Decision(
                is_run=False, warning=self._warn_once(kept, "belongs to the platform and stays as it is")
            )
        is_left_out = is_update_of_own(text) or any(
            owner is None and self._policy(name) in ("provided", "skip") for name, owner in owned.items()
        )
        return Decision(is_run=not is_left_out, text=self._as_superuser(text))

    def _as_superuser(self, text: str) -> str | None:
        """`alter extension … set schema` by the routine that may, where the server has it."""
        node = _parse(text)
        if not isinstance(node, ast.AlterObjectSchemaStmt) or not isinstance(node.object, ast.String):
            return None
        if self._connection.execute(MOVES).fetchone() is None:
            return None
        move = sql.SQL("select basalt.move_extension({}, {})")
        return move.format(node.object.sval, node.newschema).as_string()

    def missing(self, name: str) -> Decision | None:
        """The refusal of an extension that nobody has; None for every other."""
        return self._refuse(name) if self._policy(name) == "missing" else None

    def _decide_create(self, name: str, text: str) -> Decision:
        if self._is_owned(name) is not None:
            return Decision(is_run=False)  # the bootstrap was first; `if not exists` or not
        match self._policy(name):
            case "create":
                return Decision(is_run=True, text=without_version(text) if name in OWN_EXTENSIONS else None)
            case "provided":
                return Decision(is_run=False)
            case "skip":
                reason = "is not installed on this server and is left out; nothing else depends on it"
                return Decision(is_run=False, warning=self._warn_once(name, reason))
            case _:
                return self._refuse(name)

    def _refuse(self, name: str) -> Decision:
        major = self._connection.info.server_version // 10000
        package = debian_package(name, major)
        where = "from apt.postgresql.org where the distribution has no such package"
        hint = f"Install it first: apt-get install {package} ({where})." if package else None
        return Decision(
            is_run=False, error=f"Extension {name} is not available on this PostgreSQL {major}.", hint=hint
        )

    def _policy(self, name: str) -> str:
        return extension_policy(name, self._available)

    def _is_owned(self, name: str) -> bool | None:
        """Whether this role may change the extension; None when it is not installed."""
        row = self._connection.execute(INSTALLED, (name,)).fetchone()
        return None if row is None else bool(row[0])

    def _warn_once(self, name: str, reason: str) -> str | None:
        if name in self._warned:
            return None
        self._warned.add(name)
        return f"extension {name} {reason}"


def created_extension(text: str) -> str | None:
    """The name in `create extension`.

    >>> created_extension('create extension if not exists "uuid-ossp" with schema extensions')
    'uuid-ossp'
    """
    node = _parse(text)
    return node.extname if isinstance(node, ast.CreateExtensionStmt) else None


def changed_extensions(text: str) -> list[str]:
    """The names in `drop extension`, `alter extension` and `comment on extension`."""
    node = _parse(text)
    if isinstance(node, ast.AlterExtensionStmt | ast.AlterExtensionContentsStmt):
        return [str(node.extname)]
    if isinstance(node, ast.DropStmt):
        return [item.sval for item in node.objects or ()]
    if isinstance(node, ast.CommentStmt | ast.AlterObjectSchemaStmt) and isinstance(node.object, ast.String):
        return [str(node.object.sval)]
    return []


def is_update_of_own(text: str) -> bool:
    """Whether this is `alter extension NAME update` of one that Basalt brings, which the bootstrap updates.

    >>> is_update_of_own("alter extension pgmq update to '1.5.1'"), is_update_of_own("alter extension postgis update")
    (True, False)
    """
    node = _parse(text)
    return isinstance(node, ast.AlterExtensionStmt) and node.extname in OWN_EXTENSIONS


def without_version(text: str) -> str:
    """`create extension` for the version that there is.

    >>> without_version("create extension if not exists pgmq with schema pgmq version '1.4.4'")
    'CREATE EXTENSION IF NOT EXISTS pgmq WITH SCHEMA pgmq'
    """
    node = _parse(text)
    node.options = tuple(option for option in node.options or () if option.defname != "new_version") or None
    return str(stream.RawStream()(node))


def _parse(text: str) -> Any:
    """The tree of one statement; None when it is not one, which PostgreSQL itself will say better."""
    try:
        return pglast.parse_sql(text)[0].stmt
    except (parser.ParseError, IndexError):
        return None
