"""`basalt db dump` and `db restore`: what `supabase db dump` writes, and the way back.

Without the platform's own schemas, because they are there already wherever a dump goes: in another project of Basalt's
as in one of Supabase's. Data takes users, buckets and objects' rows along. Definitions are without those of modules in
`public`, which a project has that enables them.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

import psycopg

from basalt.errors import BasaltError
from basalt.postgres import MODULE_NAMES, DatabaseAccess, module_routines, module_tables
from basalt.postgres.backup import dumping, feed, list_archive
from basalt.project.fresh_start import platform_roles

READ_BYTES: Final = 1024 * 1024
CUSTOM_MAGIC: Final = b"PGDMP"

What = Literal["schema", "data", "roles"]
Format = Literal["plain", "custom"]

# Schemas that the platform fills, here or at Supabase.
PLATFORM: Final = (
    *("_analytics", "_realtime", "_supavisor", "auth", "basalt", "basalt_cache", "cache", "cron", "etl"),
    *("extensions", "flags", "graphql", "graphql_public", "information_schema", "net", "pgbouncer", "pgmq"),
    *("pgmq_public", "pgsodium", "pgsodium_masks", "realtime", "storage", "supabase_functions"),
    *("supabase_migrations", "tiger", "tiger_data", "topology", "vault"),
)
# Of these the data belongs to the project.
WITH_DATA: Final = frozenset({"auth", "storage"})
OWN_TABLES: Final = ("auth.schema_migrations", "storage.migrations", "storage.s3_multipart*")

# Else foreign keys between the tables would prescribe an order, and triggers would run again.
DATA_HEAD: Final = b"set session_replication_role = replica;\n\n"
DATA_TAIL: Final = b"\nreset session_replication_role;\n"

# Near the head of the dump; every database has it already.
MAKE_PUBLIC: Final = b"\nCREATE SCHEMA public;\n"
ENSURE_PUBLIC: Final = b"\nCREATE SCHEMA IF NOT EXISTS public;\n"

# Before a definition, a right or a comment; `FUNCTION` stands before the name in the last two.
SECTION: Final = re.compile(rb"^--\n-- Name: ", re.MULTILINE)
ROUTINE: Final = re.compile(
    rb"(?:FUNCTION )?(\w+)\([^\n]*; Type: (?:FUNCTION|ACL|COMMENT); Schema: public; [^\n]*\n"
)
ARCHIVED_ROUTINE: Final = re.compile(
    r"[^;]+; \d+ \d+ (?:FUNCTION public|(?:ACL|COMMENT) public FUNCTION) (\w+)\("
)
MODULES: Final = (
    "select relname from pg_class where relnamespace = 'basalt'::regnamespace and relname = any(%s)"
)

ROLE_LINE: Final = re.compile(rb'^(?:CREATE|ALTER) ROLE ("(?:[^"]|"")+"|\w+)')
GRANT_LINE: Final = re.compile(rb'^GRANT ("(?:[^"]|"")+"|\w+) TO ("(?:[^"]|"")+"|\w+)')
GRANTOR: Final = re.compile(rb" GRANTED BY [^;]+")

LIST_SCHEMAS: Final = "select nspname from pg_namespace where nspname not like 'pg\\_%' order by nspname"
SERVER_MAJOR: Final = "select current_setting('server_version_num')::integer / 10000"


@dataclass(frozen=True)
class DumpRequest:
    """`schemas` instead of the project's own; `excluded` are tables, `SCHEMA.NAME`, whose data stays away."""

    what: What = "schema"
    format: Format = "plain"
    schemas: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


def dump_database(access: DatabaseAccess, request: DumpRequest, out: IO[bytes]) -> None:
    """Raises DumpError."""
    major, schemas = _look(access)
    modules = _list_modules(access) if request.what == "schema" else []
    if request.what == "roles":
        with dumping("pg_dumpall", access, major, ["--roles-only", "--no-role-passwords"]) as blocks:
            out.writelines(select_roles(b"".join(blocks).splitlines(keepends=True), platform_roles()))
        return
    is_plain_data = (request.what, request.format) == ("data", "plain")
    is_plain_schema = (request.what, request.format) == ("schema", "plain")
    arguments = [
        *plan_arguments(request, schemas),
        *(f"--exclude-table=public.{table}" for name in modules for table in sorted(module_tables(name))),
    ]
    with dumping("pg_dump", access, major, arguments) as blocks:
        out.write(DATA_HEAD if is_plain_data else b"")
        if is_plain_schema:
            text = b"".join(blocks).replace(MAKE_PUBLIC, ENSURE_PUBLIC, 1)
            out.write(
                leave_out_routines(text, {routine for name in modules for routine in module_routines(name)})
            )
        out.writelines(blocks)
        out.write(DATA_TAIL if is_plain_data else b"")


def restore_database(access: DatabaseAccess, path: Path) -> None:
    """All of the dump or nothing. Raises DumpError, BasaltError."""
    major, _ = _look(access)
    try:
        with path.open("rb") as file:
            is_custom = file.read(len(CUSTOM_MAGIC)) == CUSTOM_MAGIC
            file.seek(0)
            if is_custom:
                _restore_archive(access, major, file)
            else:
                arguments = [
                    "--quiet",
                    "--no-psqlrc",
                    "--set=ON_ERROR_STOP=1",
                    "--single-transaction",
                    "--file=-",
                ]
                feed("psql", access, major, arguments, _blocks(file))
    except OSError as exc:
        raise BasaltError("dump_unreadable", 400, f"{path} cannot be read: {exc.strerror}") from exc


def leave_out_routines(text: bytes, names: set[str]) -> bytes:
    """Of a plain dump all but what is about these routines in `public`.

    >>> section = b"--\\n-- Name: %b(a uuid); Type: FUNCTION; Schema: public; Owner: me\\n--\\n"
    >>> dumped = b"".join(section % name for name in (b"ours", b"theirs"))
    >>> leave_out_routines(dumped, {"ours"})
    b'--\\n-- Name: theirs(a uuid); Type: FUNCTION; Schema: public; Owner: me\\n--\\n'
    """
    head, *sections = SECTION.split(text)
    kept = [
        section
        for section in sections
        if (found := ROUTINE.match(section)) is None or found[1].decode() not in names
    ]
    return b"--\n-- Name: ".join([head, *kept])


def _restore_archive(access: DatabaseAccess, major: int, file: IO[bytes]) -> None:
    """Every database has a schema `public` already, and the routines of the modules that it has."""
    there = {routine for name in _list_modules(access) for routine in module_routines(name)}
    with tempfile.NamedTemporaryFile("w", suffix=".list") as wanted:
        wanted.writelines(
            line
            for line in list_archive(_blocks(file), major)
            if " SCHEMA - public " not in line
            and not ((found := ARCHIVED_ROUTINE.match(line)) and found[1] in there)
        )
        wanted.flush()
        file.seek(0)
        arguments = [
            "--exit-on-error",
            "--single-transaction",
            "--disable-triggers",
            f"--use-list={wanted.name}",
        ]
        feed("pg_restore", access, major, arguments, _blocks(file))


def plan_arguments(request: DumpRequest, schemas: Iterable[str]) -> list[str]:
    """`schemas` are all of the database. Naming those that go leaves out what belongs to none: publications and event
    triggers, which are the platform's.

    >>> plan_arguments(DumpRequest(what="data", excluded=("public.log",)), ["auth", "basalt", "public"])[:4]
    ['--format=plain', '--data-only', '--schema="auth"', '--schema="public"']
    """
    platform = frozenset(PLATFORM) - (WITH_DATA if request.what == "data" else frozenset())
    wanted = request.schemas or [name for name in schemas if name not in platform]
    return [
        f"--format={request.format}",
        f"--{request.what}-only",
        *(f"--schema={_quote(name)}" for name in wanted),
        *(["--extension=*"] if request.what == "schema" and not request.schemas else []),
        *(f"--exclude-table={name}" for name in (*OWN_TABLES, *request.excluded)),
    ]


def _quote(name: str) -> str:
    """As a pattern of pg_dump that matches this name alone."""
    return '"' + name.replace('"', '""') + '"'


def select_roles(lines: Iterable[bytes], platform: frozenset[str]) -> Iterator[bytes]:
    """The project's own roles and memberships; those of the platform are everywhere.

    >>> dumped = [b"CREATE ROLE anon;\\n", b"CREATE ROLE clerk;\\n", b"GRANT anon TO clerk GRANTED BY postgres;\\n"]
    >>> list(select_roles(dumped, frozenset({"anon"})))
    [b'CREATE ROLE clerk;\\n', b'GRANT anon TO clerk;\\n']
    """
    for line in lines:
        if found := ROLE_LINE.match(line):
            if not _is_platform(found[1], platform):
                yield line
        elif (found := GRANT_LINE.match(line)) and not all(
            _is_platform(name, platform) for name in found.groups()
        ):
            yield GRANTOR.sub(b"", line)


def _is_platform(name: bytes, platform: frozenset[str]) -> bool:
    text = name.decode().strip('"')
    return text in platform or text.startswith("pg_") or text == "supabase_admin"


def _list_modules(access: DatabaseAccess) -> list[str]:
    """Those that the database has."""
    tables = {f"{name}_settings": name for name in MODULE_NAMES}
    with psycopg.connect(access.conninfo("supabase_admin"), application_name="basalt/dump") as connection:
        return [tables[table] for (table,) in connection.execute(MODULES, [list(tables)])]


def _look(access: DatabaseAccess) -> tuple[int, list[str]]:
    """The server's major version and the schemas of the database."""
    with psycopg.connect(access.conninfo("supabase_admin"), application_name="basalt/dump") as connection:
        row = connection.execute(SERVER_MAJOR).fetchone()
        assert row is not None
        return int(row[0]), [name for (name,) in connection.execute(LIST_SCHEMAS)]


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(READ_BYTES):
        yield block
