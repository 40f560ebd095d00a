"""`GET /admin/audit`: the audit log, the newest first (GoTrue audit.go)."""

from collections.abc import Mapping, Sequence
from typing import Final

from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.pagination import page_headers, read_page
from basalt.auth.render import render_time
from basalt.http import Response, json_response

# What `query=SCOPE:TEXT` looks at.
SCOPES: Final[Mapping[str, Sequence[str]]] = {
    "author": ("actor_username", "actor_name"),
    "action": ("action",),
    "type": ("log_type",),
}

COUNT_ENTRIES: Final = """
select count(*) as count from auth.audit_log_entries as e
where %(names)s::text[] is null
    or exists (select from unnest(%(names)s::text[]) as name where e.payload ->> name ilike %(pattern)s)
"""
LIST_ENTRIES: Final = """
select e.id, e.payload, e.created_at, e.ip_address from auth.audit_log_entries as e
where %(names)s::text[] is null
    or exists (select from unnest(%(names)s::text[]) as name where e.payload ->> name ilike %(pattern)s)
order by e.created_at desc, e.id
limit %(limit)s offset %(offset)s
"""


async def list_audit_log(call: Call) -> Response:
    """A page of entries, all or those of `query=author:…`, `action:…` or `type:…`. Raises AuthError
    validation_failed."""
    page = read_page(call)
    names, text = _read_query(call.query.get("query", ""))
    pattern = text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    parameters = {"names": names, "pattern": f"%{pattern}%", "limit": page.size, "offset": page.offset}
    async with call.auth.transaction() as tx:
        counted = await (await tx.execute(COUNT_ENTRIES, parameters)).fetchone()
        rows = await (await tx.execute(LIST_ENTRIES, parameters)).fetchall()
    entries = [{**row, "id": str(row["id"]), "created_at": render_time(row["created_at"])} for row in rows]
    return json_response(entries, headers=page_headers(call, page, counted["count"] if counted else 0))


def _read_query(query: str) -> tuple[list[str] | None, str]:
    if not query:
        return None, ""
    scope, colon, text = query.partition(":")
    if scope not in SCOPES or not colon:
        raise AuthError("validation_failed", f"Invalid query scope: {query[:40]}")
    return (list(SCOPES[scope]), text) if text else (None, "")
