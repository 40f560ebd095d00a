"""From what the database gave back to the HTTP answer: status, headers, body. Pure.

The last step of a REST request. The rules are those of PostgREST's `Response.hs`; the body is the bytes that
PostgreSQL built and is not looked into.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """What running the statement of one request gave.

    `page_count` is the number of rows read or changed, `total_count` that of all rows the filters match (None
    unless it was asked for). `inserted_count` is the number of rows a PUT or a merging upsert really inserted,
    None where it was not counted. `location` are the primary key columns and values of a single inserted row,
    for `Location`; the values are rendered as `eq.VALUE` here. `has_conflict_target` is whether an insert had a
    primary key or `on_conflict` to resolve duplicates by. `response_status` and `response_headers` are the
    settings `response.status` and `response.headers` as PostgreSQL returned them, None or empty when unset."""

    body: bytes = b""
    media_type: str = "application/json"
    page_count: int = 0
    total_count: int | None = None
    inserted_count: int | None = None
    location: tuple[tuple[str, str], ...] = ()
    has_conflict_target: bool = False
    returns_void: bool = False
    response_status: bytes | None = None
    response_headers: bytes | None = None
