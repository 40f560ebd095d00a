"""`/bucket`: buckets over the JSON API."""

from typing import Any, Final

import orjson

from basalt.http import Response, json_response
from basalt.postgres import Query
from basalt.storage.api.answers import raw_json
from basalt.storage.api.validation import one_of, optional, query_number, read_json, required, strings
from basalt.storage.buckets import (
    BUCKET_JSON,
    BucketChange,
    NewBucket,
    create_bucket,
    delete_bucket,
    empty_bucket,
    load_bucket,
    parse_size_limit,
    update_bucket,
)
from basalt.storage.call import Call
from basalt.storage.errors import StorageError

COLUMNS: Final = ("id", "name", "created_at", "updated_at")
LIST_LIMIT: Final = 2**31 - 1

# In lists a bucket has its type as well, between `public` and `file_size_limit`.
LISTED: Final = BUCKET_JSON.replace("'file_size_limit'", "'type', b.type, 'file_size_limit'", 1)
LIST_BUCKETS: Final = {
    (column, order): f"""
select coalesce(json_agg(page.bucket order by page.place), '[]')
from (
    select {LISTED} as bucket, row_number() over (order by b.{column} {order}, b.id) as place
    from storage.buckets as b
    where position(lower($1) in lower(b.name)) > 0
    order by place
    limit $2 offset $3
) as page
"""  # noqa: S608 - put together from constants
    for column in COLUMNS
    for order in ("asc", "desc")
}


async def create(call: Call) -> Response:
    body = await read_json(call.request)
    name: str = required(body, "name", "string")
    kind = one_of(body.get("type") or "STANDARD", "body/type", ("STANDARD", "ANALYTICS", "VECTOR"))
    if kind != "STANDARD":
        raise StorageError("FeatureNotEnabled", f"Buckets of type {kind} are not supported")
    _check_versioning(body)
    new = NewBucket(
        id=optional(body, "id", "string") or name,
        name=name,
        public=bool(optional(body, "public", "boolean")),
        file_size_limit=parse_size_limit(body.get("file_size_limit")),
        allowed_mime_types=_types(body),
    )
    await create_bucket(call.ctx, call.scope("storage.bucket.create"), new)
    return json_response({"name": new.name})


async def list_all(call: Call) -> Response:
    query = dict(call.request.query())
    column = one_of(query.get("sortColumn") or "name", "querystring/sortColumn", COLUMNS)
    order = one_of(query.get("sortOrder") or "asc", "querystring/sortOrder", ("asc", "desc"))
    limit = query_number(query, "limit", low=1, high=LIST_LIMIT)
    offset = query_number(query, "offset", high=LIST_LIMIT)
    params = (
        query.get("search", "").encode(),
        b"%d" % (limit or LIST_LIMIT),
        b"%d" % (offset or 0),
    )
    scope = call.scope("storage.bucket.list")
    [result] = await call.ctx.db.run_or_refuse(
        scope, Query(LIST_BUCKETS[column, order], params), read_only=True
    )
    return raw_json(result)


async def get(call: Call, bucket: str) -> Response:
    found = await load_bucket(call.ctx, call.scope("storage.bucket.get"), bucket)
    return json_response(orjson.Fragment(found))


async def update(call: Call, bucket: str) -> Response:
    body = await read_json(call.request)
    _check_versioning(body)
    change = BucketChange(
        public=optional(body, "public", "boolean"),
        has_limit="file_size_limit" in body,
        file_size_limit=parse_size_limit(body.get("file_size_limit")),
        has_types="allowed_mime_types" in body,
        allowed_mime_types=_types(body),
    )
    await update_bucket(call.ctx, call.scope("storage.bucket.update"), bucket, change)
    return json_response({"message": "Successfully updated"})


async def empty(call: Call, bucket: str) -> Response:
    await empty_bucket(call.ctx, call.scope("storage.bucket.empty"), bucket)
    return json_response({"message": "Empty bucket has been queued. Completion may take up to an hour."})


async def delete(call: Call, bucket: str) -> Response:
    await delete_bucket(call.ctx, call.scope("storage.bucket.delete"), bucket)
    return json_response({"message": "Successfully deleted"})


async def lifecycle(call: Call, bucket: str) -> Response:
    """Rules for versions that are no longer current, of which there are none."""
    await load_bucket(call.ctx, call.scope("storage.bucket.get"), bucket)
    raise StorageError("FeatureNotEnabled")


def _check_versioning(body: dict[str, Any]) -> None:
    """Versions of objects are not kept, as in Supabase's own service by default."""
    asked = body.get("versioning_status") or body.get("versioningStatus") or "DISABLED"
    if asked != "DISABLED":
        raise StorageError("FeatureNotEnabled", "Object versioning is not enabled for this project")


def _types(body: dict[str, Any]) -> list[str] | None:
    return None if body.get("allowed_mime_types") is None else strings(body, "allowed_mime_types", least=0)
