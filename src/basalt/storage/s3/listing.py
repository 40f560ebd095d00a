"""Lists of objects, in bytewise order and page by page.

A page is asked for with one entry more than it may have, which tells whether another one follows. Where it goes on is
the last name of the page, or the last folder with its delimiter.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import orjson

from basalt.http import Response
from basalt.postgres import Query, Result
from basalt.storage.errors import StorageError
from basalt.storage.objects import ISO
from basalt.storage.s3.call import S3Call, check_bucket_exists
from basalt.storage.s3.xml import Tree, Value, xml_response

MAX_KEYS: Final = 1000
LAST_CHARACTER: Final = "\U0010ffff"

# The prefix is a range and not a pattern: under row-level security only comparisons reach the index.
LIST_OBJECTS: Final = f"""
select o.name, to_char(o.updated_at at time zone 'utc', {ISO}), o.metadata
from storage.objects as o
where o.bucket_id = $1 and o.name collate "C" >= $2 and o.name collate "C" < $3 and o.name collate "C" > $4
order by o.name collate "C"
limit $5::bigint
"""  # noqa: S608 - put together from constants

LIST_LEVEL: Final = f"""
select l.name, to_char(l.updated_at at time zone 'utc', {ISO}), l.metadata, l.id is null
from storage.list_objects_with_delimiter($1, $2, $3, $4::integer, $5, $6) as l
"""  # noqa: S608 - put together from constants


@dataclass(frozen=True, slots=True)
class Entry:
    """An object, or a folder, whose name ends with the delimiter and whose other fields are empty."""

    name: str
    last_modified: str = ""
    etag: str = ""
    size: int = 0
    is_folder: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """`after` is where the next one goes on, None when there is none."""

    entries: Sequence[Entry]
    after: str | None


async def list_v1(call: S3Call) -> Response:
    """`Marker` of a page that is not the last is where to go on, as Supabase's clients expect; Amazon repeats the one
    of the request. `NextMarker` is only there with a delimiter; else the last key serves."""
    marker = call.query.get("marker") or ""
    page = await load_page(call, start_after=marker, token="")
    encode = encoder(call)
    after = None if page.after is None else encode(page.after)
    return xml_response(
        "ListBucketResult",
        [
            *_head(call),
            ("Marker", after if after is not None else encode(marker)),
            ("NextMarker", after if call.query.get("delimiter") else None),
            ("IsTruncated", page.after is not None),
            *_entries(call, page),
        ],
    )


async def list_v2(call: S3Call) -> Response:
    given = call.query.get("continuation-token")
    token = "" if not given else parse_token(given)
    start_after = call.query.get("start-after") or ""
    page = await load_page(call, start_after=start_after, token=token)
    return xml_response(
        "ListBucketResult",
        [
            *_head(call),
            ("ContinuationToken", given or None),
            ("StartAfter", encoder(call)(start_after) if start_after else None),
            ("KeyCount", len(page.entries)),
            ("IsTruncated", page.after is not None),
            ("NextContinuationToken", None if page.after is None else build_token(page.after)),
            *_entries(call, page),
        ],
    )


def build_token(name: str) -> str:
    """
    >>> build_token("dir/hello.txt")
    'bDpkaXIvaGVsbG8udHh0'
    """
    return base64.b64encode(f"l:{name}".encode()).decode()


def parse_token(token: str) -> str:
    """Raises StorageError InvalidParameter."""
    try:
        text = base64.b64decode(token, validate=True).decode()
    except ValueError:
        text = ""
    if not text.startswith("l:"):
        raise StorageError("InvalidParameter", "continuation-token is not one of ours")
    return text[2:]


async def load_page(call: S3Call, *, start_after: str, token: str) -> Page:
    """Raises StorageError NoSuchBucket."""
    await check_bucket_exists(call)
    most = call.number("max-keys", MAX_KEYS, high=MAX_KEYS)
    if most == 0:
        return Page((), None)
    prefix, delimiter = call.query.get("prefix") or "", call.query.get("delimiter") or ""
    if delimiter:
        query = _query(LIST_LEVEL, call.bucket, prefix, delimiter, str(most + 1), start_after, token)
    else:
        last = token or start_after
        query = _query(LIST_OBJECTS, call.bucket, prefix, end_of_range(prefix), last, str(most + 1))
    [result] = await call.ctx.db.run_or_refuse(call.scope, query, read_only=True)
    entries = _read_entries(result, delimiter)
    return Page(entries[:most], entries[most - 1].name if len(entries) > most else None)


def _query(sql: str, *params: str) -> Query:
    return Query(sql, tuple(param.encode() for param in params))


def end_of_range(prefix: str) -> str:
    """What all names with this prefix are less than, and no others are in between.

    >>> end_of_range("dir/"), end_of_range("") == LAST_CHARACTER
    ('dir0', True)
    """
    kept = prefix.rstrip(LAST_CHARACTER)
    if not kept:
        return LAST_CHARACTER
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if 0xD800 <= following < 0xE000 else following)


def _read_entries(result: Result, delimiter: str) -> list[Entry]:
    entries = []
    for row in result.rows:
        name = (row[0] or b"").decode()
        if delimiter and row[3] == b"t":
            entries.append(Entry(name + delimiter, is_folder=True))
            continue
        metadata = orjson.loads(row[2] or b"{}") or {}
        size = metadata.get("size")
        entries.append(
            Entry(
                name,
                last_modified=str(metadata.get("lastModified") or (row[1] or b"").decode()),
                etag=str(metadata.get("eTag") or ""),
                size=size if isinstance(size, int) else 0,
            )
        )
    return entries


def _head(call: S3Call) -> Tree:
    encode = encoder(call)
    delimiter = call.query.get("delimiter")
    return [
        ("Name", call.bucket),
        ("Prefix", encode(call.query.get("prefix") or "")),
        ("Delimiter", encode(delimiter) if delimiter else None),
        ("MaxKeys", call.number("max-keys", MAX_KEYS, high=MAX_KEYS)),
        ("EncodingType", "url" if call.query.get("encoding-type") == "url" else None),
    ]


def _entries(call: S3Call, page: Page) -> Tree:
    encode = encoder(call)
    contents: list[tuple[str, Value]] = [
        (
            "Contents",
            [
                ("Key", encode(entry.name)),
                ("LastModified", entry.last_modified),
                ("ETag", entry.etag),
                ("Size", entry.size),
                ("StorageClass", "STANDARD"),
            ],
        )
        for entry in page.entries
        if not entry.is_folder
    ]
    prefixes: list[tuple[str, Value]] = [
        ("CommonPrefixes", [("Prefix", encode(entry.name))]) for entry in page.entries if entry.is_folder
    ]
    return [*contents, *prefixes]


def encoder(call: S3Call) -> Callable[[str], str]:
    """How names are written: as they are, or percent-encoded for clients whose XML has no place for them."""
    return _percent if call.query.get("encoding-type") == "url" else str


def _percent(name: str) -> str:
    return quote(name, safe="/")
