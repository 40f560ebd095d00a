"""`security definer` routines: what they do is not bound by policies, and not always by whoever wrote them."""

import re
from collections.abc import Iterator, Sequence
from typing import Final, LiteralString

from basalt.postgres.advice.sql_check import Row, SqlCheck

ROUTINES: Final[LiteralString] = """
with routines as (
    select n.nspname as schema, p.proname as name, p.prosecdef as is_definer, p.proconfig,
        p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype) as is_called,
        n.nspname = any (%(schemas)s) and exists (
            select from pg_catalog.pg_roles as r
            where r.rolname in ('anon', 'authenticated') and has_function_privilege(r.oid, p.oid, 'execute'))
                as is_exposed,
        case p.prokind when 'p' then 'procedure' else 'function' end as kind,
        format('%%I.%%I(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) as subject,
        coalesce(pg_get_function_sqlbody(p.oid), p.prosrc, '') as body
    from pg_catalog.pg_proc as p join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
    where n.nspname <> all (%(platform)s) and n.nspname not like 'pg\\_%%'
        and not exists (select from pg_catalog.pg_depend as d
            where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
)"""

# Names in the body go on meaning what they meant. Temporary tables, which are looked up first unless they are named,
# come last.
SEARCH_PATH: Final[LiteralString] = (
    ROUTINES
    + """
select r.schema, r.subject, 'runs as its owner and looks names up where its caller says' as what,
    format('alter %%s %%s set search_path = %%I, extensions, pg_temp;', r.kind, r.subject, r.schema) as remedy,
    case when r.is_exposed and r.is_called then 'error' else 'warning' end as severity
from routines as r
where r.is_definer and not exists (select from unnest(r.proconfig) as setting where setting like 'search_path=%%')
order by 2
"""
)

ALL_ROUTINES: Final[LiteralString] = (
    ROUTINES
    + """
select r.schema, r.name, r.subject, r.body, r.is_definer and r.is_exposed and r.is_called as is_open,
    format('revoke execute on %%s %%s from public, anon, authenticated;', r.kind, r.subject) as remedy
from routines as r
order by r.subject
"""
)

ASKS: Final = re.compile(r"\bauth\.(?:uid|jwt|role|email)\s*\(|\brequest\.jwt|\bsession_user\b", re.I)
CALL: Final = re.compile(r"(\w+)\"?\s*\(")


def _judge_routines(rows: Sequence[Row]) -> Iterator[Row]:
    """A routine asks who calls by the token or by who logged in, or calls one that does."""
    calls = {row["subject"]: frozenset(CALL.findall(row["body"])) for row in rows}
    asking = {row["name"] for row in rows if ASKS.search(row["body"])}
    while more := {row["name"] for row in rows if calls[row["subject"]] & asking} - asking:
        asking |= more
    for row in rows:
        if row["is_open"]:
            what = "runs as its owner, past policies, and clients may call it"
            if row["name"] in asking:
                yield {**row, "what": what, "severity": "info"}
            else:
                yield {**row, "what": f"{what}; nothing in it asks who calls"}


ROUTINE_CHECKS: Final[Sequence[SqlCheck]] = (
    SqlCheck(
        name="function_search_path_mutable",
        group="security",
        severity="error",
        title="security definer without a search_path of its own",
        why="Whoever may create objects on the search path, in pg_temp for one, has it run theirs as the owner.",
        statement=SEARCH_PATH,
    ),
    SqlCheck(
        name="security_definer_executable",
        group="security",
        severity="warning",
        title="security definer routines that clients may call",
        why="What such a routine does is not bound by policies: it checks the caller itself, or anybody may.",
        statement=ALL_ROUTINES,
        judge=_judge_routines,
    ),
)
