"""docs/data-dictionary.md says what the database says of itself; the comments in the migrations are its source.

After a change of the schema this prints it again:
UPDATE_DATA_DICTIONARY=1 .venv/bin/pytest apps/gigwork/tests/test_data_dictionary.py
"""

import os
import re

import pytest

from .acting import App, Connection
from .conftest import APP

DICTIONARY = APP / "docs" / "data-dictionary.md"

INTRODUCTION = """# Data dictionary of Gigwork

Printed from the comments in `supabase/migrations/`; `tests/test_data_dictionary.py` compares the two. The diagram is in
the [README](../README.md#the-schema). Tables and routines of the notification engine are in
[its own reference](../../../docs/reference/notification-tables.md). Every table has `created_at` and `updated_at`,
kept by triggers. A day, a week or a month is one of Asia/Singapore.
"""

TABLES = """
select c.oid, c.relname as name, c.relkind, obj_description(c.oid, 'pg_class') as meaning
from pg_class as c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'm', 'v')
    and c.relname not like 'notification%'
order by c.relkind desc, c.relname
"""
COLUMNS = """
select
    a.attname as name,
    format_type(a.atttypid, a.atttypmod) as type,
    not a.attnotnull and a.attrelid not in (select oid from pg_class where relkind in ('m', 'v')) as nullable,
    case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end as default,
    col_description(a.attrelid, a.attnum) as meaning,
    (
        select k.confrelid::regclass::text from pg_constraint as k
        where k.conrelid = a.attrelid and k.contype = 'f' and k.conkey = array[a.attnum]
    ) as refers_to,
    exists (
        select from pg_constraint as k where k.conrelid = a.attrelid and k.contype = 'p' and k.conkey @> array[a.attnum]
    ) as is_key
from pg_attribute as a
left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = %s and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""
INDEXES = """
select pg_get_indexdef(i.indexrelid) as definition, obj_description(i.indexrelid, 'pg_class') as meaning
from pg_index as i join pg_class as c on c.oid = i.indexrelid
where i.indrelid = %s and not i.indisprimary
order by c.relname
"""
POLICIES = """
select polname as name, polcmd::text as command,
    array(select rolname from pg_roles where oid = any(polroles) order by rolname) as roles
from pg_policy where polrelid = %s
order by polcmd <> 'r', polname
"""
ROUTINES = """
select
    p.proname || '(' || pg_get_function_arguments(p.oid) || ')' as signature,
    pg_get_function_result(p.oid) as result,
    obj_description(p.oid, 'pg_proc') as meaning,
    array(
        select r from unnest(array['anon', 'authenticated', 'service_role']) as r
        where has_function_privilege(r, p.oid, 'execute')
    ) as callers
from pg_proc as p
where p.pronamespace = 'public'::regnamespace
    and p.proname not like '%notification%' and p.proname <> 'mark_queue_item_read'
order by p.proname
"""
KINDS = {"r": "", "m": " (materialized view)", "v": " (view)"}
COMMANDS = {"r": "select", "a": "insert", "w": "update", "d": "delete", "*": "all"}
USUAL = {
    "id": "Key.",
    "user_id": "Whose row it is.",
    "created_at": "When the row was made.",
    "updated_at": "When it last changed.",
}


@pytest.mark.req("G1")
def test_the_data_dictionary_is_current(app: App) -> None:
    printed = print_dictionary(app.admin)
    if os.environ.get("UPDATE_DATA_DICTIONARY"):
        DICTIONARY.write_text(printed, "utf-8")
    assert DICTIONARY.read_text("utf-8") == printed


@pytest.mark.req("G13")
def test_the_readme_lists_every_error_code_with_its_status() -> None:
    raised = {
        (status, code)
        for path in (APP / "supabase" / "migrations").glob("*.sql")
        for code, status in re.findall(r"private\.fail\(\s*'([A-Z_]+)', (\d+)", path.read_text("utf-8"))
    }
    readme = (APP / "README.md").read_text("utf-8")
    listed = {
        (status, code)
        for status, codes in re.findall(r"^\| (\d{3}) \| (.+) \|$", readme, re.MULTILINE)
        for code in re.findall(r"`([A-Z_]+)`", codes)
    }
    assert listed == raised | {("405", "METHOD_NOT_ALLOWED")}


def print_dictionary(owner: Connection) -> str:
    tables = owner.execute(TABLES).fetchall()
    parts = [INTRODUCTION, "## Tables\n"]
    for table in tables:
        kind = KINDS[table["relkind"]]
        parts += [f"### {table['name']}{kind}\n", f"{table['meaning']}\n", print_columns(owner, table["oid"])]
        parts += [*print_indexes(owner, table["oid"]), *print_policies(owner, table["oid"])]
    parts += ["## Routines\n", "Called through `/rest/v1/rpc/NAME`, `supabase.rpc(…)` or SQL.\n"]
    for routine in owner.execute(ROUTINES).fetchall():
        parts.append(
            f"- **`{short(routine['signature'])}`** → `{short(routine['result'])}`, for "
            f"{', '.join(routine['callers'])}. {routine['meaning']}"
        )
    return "\n".join(parts).rstrip() + "\n"


def print_columns(owner: Connection, table: int) -> str:
    lines = ["| column | type | default | meaning |", "| --- | --- | --- | --- |"]
    for column in owner.execute(COLUMNS, [table]).fetchall():
        name, refers_to = column["name"], column["refers_to"]
        meaning = column["meaning"] or USUAL.get(name) or ""
        assert meaning or refers_to, f"{name} has no comment"
        notes = [meaning] if meaning else []
        notes += [f"→ `{short(refers_to)}`"] if refers_to else []
        default = f"`{short(column['default'])}`" if column["default"] else ""
        kind = short(column["type"]) + (", nullable" if column["nullable"] and not column["is_key"] else "")
        lines.append(f"| `{name}` | {kind} | {default} | {' '.join(notes)} |".replace("  |", " |"))
    return "\n".join(lines) + "\n"


def print_indexes(owner: Connection, table: int) -> list[str]:
    rows = owner.execute(INDEXES, [table]).fetchall()
    lines = [
        f"- `{short(row['definition'])}`" + (f" – {row['meaning']}" if row["meaning"] else "") for row in rows
    ]
    return ["Indexes:\n", *lines, ""] if rows else []


def print_policies(owner: Connection, table: int) -> list[str]:
    rows = owner.execute(POLICIES, [table]).fetchall()
    lines = [f"- {row['name']} ({COMMANDS[row['command']]}; {', '.join(row['roles'])})" for row in rows]
    return ["Policies:\n", *lines, ""] if rows else []


def short(text: str) -> str:
    """PostgreSQL's spelling without what every line would repeat."""
    replacements = {
        "timestamp with time zone": "timestamptz",
        "time without time zone": "time",
        "double precision": "float8",
        "extensions.": "",
        "public.": "",
        "CREATE UNIQUE INDEX ": "unique ",
        "CREATE INDEX ": "",
        " USING btree": "",
        "::text[]": "",
        "::text": "",
        "::uuid": "",
        "::numeric": "",
        "::date": "",
        "::jsonb": "",
        "::time": "",
        "DEFAULT ": "default ",
        "NULL": "null",
    }
    for long, brief in replacements.items():
        text = text.replace(long, brief)
    return text.replace("|", "\\|")
