"""`POST /object/list` and `/object/list-v2`: what is in a bucket, as far as the caller may see it.

The first skips `offset` entries of one level; the second goes on behind a cursor, on one level or through all of them.
Both walk the index on (bucket_id, name collate "C"), so that a folder costs the same however much lies in it.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from basalt.http import Response, json_response
from basalt.postgres import Query, Result
from basalt.storage.api.answers import raw_json
from basalt.storage.api.validation import number, one_of, optional, read_json, required
from basalt.storage.call import Call
from basalt.storage.errors import StorageError, invalid_request
from basalt.storage.objects import ISO

LEVEL_COLUMNS: Final = ("name", "updated_at", "created_at", "last_accessed_at")
PAGE_COLUMNS: Final = ("name", "updated_at", "created_at")
ORDERS: Final = ("asc", "desc")
LEVEL_LIMIT: Final = 100
MAX_LEVEL_LIMIT: Final = 1500
MAX_PAGE_LIMIT: Final = 1000
MAX_OFFSET: Final = 2**31 - 1
# Pages go by what clients see of a time, its milliseconds; `storage.search_v2` does the same.
MOMENT: Final = "case when isfinite({0}) then date_trunc('milliseconds', {0}) else 'epoch' end"

# A cursor is Base64 of lines, of which the name is the last, for it may be anything.
CURSOR: Final = re.compile(
    r"(?:o:(asc|desc)\n)?(?:c:(created_at|updated_at)\na:([0-9TZ:.-]+)\n)?l:(.+)", re.DOTALL
)

TIMES: Final = ", ".join(
    f"'{column}', to_char(l.{column} at time zone 'utc', {ISO})"
    for column in ("updated_at", "created_at", "last_accessed_at")
)
LIST_LEVEL: Final = f"""
select coalesce(json_agg(json_build_object('name', l.name, 'id', l.id, {TIMES}, 'metadata', l.metadata)
    order by l.place), '[]')
from storage.search($1, $2, $3, 1, $4, $5, $6, $7)
    with ordinality as l(name, id, updated_at, created_at, last_accessed_at, metadata, place)
"""  # noqa: S608 - put together from constants


def _source(column: str, order: str, *, one_level: bool) -> str:
    """The rows of a page and one more, folders without a slash. $1 is the bucket, $2 the prefix, $3 how many rows, $4
    the name to go on behind and $5 its time."""
    if column == "name":
        delimiter = "/" if one_level else ""
        return (
            f"select * from storage.list_objects_with_delimiter($1, $2, '{delimiter}', $3, '', $4, '{order}')"  # noqa: S608
        )
    if one_level:
        return f"select * from storage.search_v2($2, $1, $3, 1, $4, '{order}', '{column}', $5)"  # noqa: S608
    moment = MOMENT.format(f"o.{column}")
    return f"""
        select o.name, o.id, o.updated_at, o.created_at, o.last_accessed_at, o.metadata
        from storage.objects as o
        where o.bucket_id = $1 and o.name collate "C" >= $2 and o.name collate "C" < $2 || chr(1114111)
            and ($4 = '' or ({moment}, o.name collate "C") {">" if order == "asc" else "<"} ($5::timestamptz, $4))
        order by {moment} {order}, o.name collate "C" {order}
        limit $3
    """  # noqa: S608 - put together from constants


def _page(column: str, order: str, *, one_level: bool) -> str:
    """Folders, objects, and of the last entry, where there are more, the name, whether it is a folder, and its time."""
    key = "'key', split_part(l.name, '/', -1)," if one_level else ""
    entry = f"'id', l.id, {TIMES}, 'metadata', l.metadata"
    last = "filter (where l.place = $3::integer - 1 and l.total = $3::integer)"
    moment = MOMENT.format(f"l.{column}")
    time = "null" if column == "name" else f"max(to_char({moment} at time zone 'utc', {ISO})) {last}"
    return f"""
    select json_agg(json_build_object({key} 'name', l.name || '/', {entry}) order by l.place)
            filter (where l.id is null and l.place < $3::integer),
        json_agg(json_build_object({key} 'name', l.name, {entry}) order by l.place)
            filter (where l.id is not null and l.place < $3::integer),
        max(l.name) {last}, bool_or(l.id is null) {last}, {time}
    from (
        select found.*, row_number() over () as place, count(*) over () as total
        from ({_source(column, order, one_level=one_level)}) as found
    ) as l
    """  # noqa: S608 - put together from constants


LIST_PAGE: Final = {
    (one_level, column, order): _page(column, order, one_level=one_level)
    for one_level in (True, False)
    for column in PAGE_COLUMNS
    for order in ORDERS
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: behind the entry `name`, a folder's with its slash, in this order. `time` is that of the
    entry where pages are sorted by one; all are empty at the beginning."""

    name: str = ""
    column: str = "name"
    order: str = "asc"
    time: str = ""


async def list_level(call: Call, bucket: str) -> Response:
    body = await read_json(call.request)
    prefix: str = required(body, "prefix", "string")
    limit = number(body, "limit", LEVEL_LIMIT, low=1)
    offset = number(body, "offset", 0)
    column, order = _sort(body, LEVEL_COLUMNS)
    params = (
        prefix if prefix.endswith("/") or not prefix else f"{prefix}/",  # clients say `list('folder')`
        bucket,
        str(min(limit, MAX_LEVEL_LIMIT)),
        str(min(offset, MAX_OFFSET)),
        optional(body, "search", "string") or "",
        column,
        order,
    )
    query = Query(LIST_LEVEL, tuple(param.encode() for param in params))
    [result] = await call.ctx.db.run_or_refuse(call.scope("storage.object.list"), query, read_only=True)
    return raw_json(result)


async def list_page(call: Call, bucket: str) -> Response:
    body = await read_json(call.request)
    prefix: str = optional(body, "prefix", "string") or ""
    limit = min(number(body, "limit", MAX_PAGE_LIMIT, low=1), MAX_PAGE_LIMIT)
    one_level = bool(optional(body, "with_delimiter", "boolean"))
    cursor: str | None = optional(body, "cursor", "string")
    column, order = _sort(body, PAGE_COLUMNS)
    place = parse_cursor(cursor) if cursor else Place(column=column, order=order)
    params: list[bytes | None] = [bucket.encode(), prefix.encode(), b"%d" % (limit + 1), place.name.encode()]
    if place.column != "name":
        params.append(place.time.encode() or None)
    query = Query(LIST_PAGE[one_level, place.column, place.order], tuple(params))
    [result] = await call.ctx.db.run_or_refuse(call.scope("storage.object.list_v2"), query, read_only=True)
    return _render_page(place, result)


def render_cursor(place: Place) -> str:
    """
    >>> render_cursor(Place("dir/hello.txt"))
    'bDpkaXIvaGVsbG8udHh0'
    """
    order = "" if place.order == "asc" else f"o:{place.order}\n"
    time = "" if place.column == "name" else f"c:{place.column}\na:{place.time}\n"
    return base64.b64encode(f"{order}{time}l:{place.name}".encode()).decode()


def parse_cursor(cursor: str) -> Place:
    """Raises StorageError InvalidParameter for what `render_cursor` cannot have made.

    >>> parse_cursor(render_cursor(Place("a", "created_at", "desc", "2026-01-01T00:00:00.000Z")))
    Place(name='a', column='created_at', order='desc', time='2026-01-01T00:00:00.000Z')
    """
    try:
        found = CURSOR.fullmatch(base64.b64decode(cursor, validate=True).decode())
    except ValueError:  # binascii.Error and UnicodeDecodeError are of this kind
        found = None
    if found is None:
        raise StorageError("InvalidParameter", "Invalid Parameter continuation token")
    order, column, time, name = found.groups()
    return Place(name, column or "name", order or "asc", time or "")


def _render_page(place: Place, result: Result) -> Response:
    folders, objects, name, is_folder, time = result.rows[0]
    following: dict[str, str] = {}
    if name is not None:
        last = name.decode()
        behind = f"{last}/" if is_folder == b"t" else last
        cursor = render_cursor(Place(behind, place.column, place.order, (time or b"").decode()))
        following = {"nextCursor": cursor, "nextCursorKey": last}
    return json_response(
        {
            "hasNext": bool(following),
            **following,
            "folders": orjson.Fragment(folders or b"[]"),
            "objects": orjson.Fragment(objects or b"[]"),
        }
    )


def _sort(body: Mapping[str, Any], columns: tuple[str, ...]) -> tuple[str, str]:
    given: dict[str, Any] | None = optional(body, "sortBy", "object")
    if given is None:
        return "name", "asc"
    if given.get("column") is None:
        raise invalid_request("body/sortBy must have required property 'column'")
    column = one_of(given["column"], "body/sortBy/column", columns)
    return column, one_of(given.get("order") or "asc", "body/sortBy/order", ORDERS)
