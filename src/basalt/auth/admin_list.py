"""`GET /admin/users`: pages by number, with `Link` and `x-total-count` headers (GoTrue pagination.go)."""

from typing import Final

from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.pages import page_headers, read_page
from basalt.auth.render import render_user
from basalt.auth.users import SELECT_USER, user_of_row
from basalt.http import Response, json_response

DEFAULT_PER_PAGE: Final = 50

COUNT_USERS: Final = """
select count(*) as count from auth.users as u
where coalesce(nullif(u.aud, ''), 'authenticated') = %(audience)s
    and (%(filter)s = '' or u.email like %(pattern)s
        or u.raw_user_meta_data ->> 'full_name' ilike %(pattern)s)
"""
LIST_USERS: Final = (
    SELECT_USER
    + """where coalesce(nullif(u.aud, ''), 'authenticated') = %(audience)s
    and (%(filter)s = '' or u.email like %(pattern)s
        or u.raw_user_meta_data ->> 'full_name' ilike %(pattern)s)
order by case when %(ascending)s then u.created_at end asc,
    case when not %(ascending)s then u.created_at end desc, u.id
limit %(limit)s offset %(offset)s"""
)


async def list_users(call: Call) -> Response:
    """Pages by number, with GoTrue's `Link` and `x-total-count` headers that clients page by."""
    page, per_page = read_page(call, default_size=DEFAULT_PER_PAGE)
    asked = call.query.get("filter", "").replace("\x00", "")
    parameters = {
        "audience": call.audience,
        "filter": asked,
        "pattern": f"%{asked}%",
        "ascending": _is_ascending(call),
        "limit": per_page,
        "offset": (page - 1) * per_page,
    }
    async with call.auth.transaction() as tx:
        counted = await (await tx.execute(COUNT_USERS, parameters)).fetchone()
        rows = await (await tx.execute(LIST_USERS, parameters)).fetchall()
    total = counted["count"] if counted else 0
    shown = {"users": [render_user(user_of_row(row)) for row in rows], "aud": call.audience}
    return json_response(shown, headers=page_headers(call, page, per_page, total))


def _is_ascending(call: Call) -> bool:
    order = call.query.get("sort", "")
    if not order:
        return False
    field, _, direction = order.partition(" ")
    if field != "created_at":
        raise AuthError("validation_failed", f"Bad Sort Parameters: bad field for sort '{field[:40]}'")
    if direction.lower() not in ("", "asc", "desc"):
        message = (
            f"Bad Sort Parameters: bad direction for sort '{direction[:40]}', only 'asc' and 'desc' allowed"
        )
        raise AuthError("validation_failed", message)
    return direction.lower() == "asc"
