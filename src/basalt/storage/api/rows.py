"""Delete, copy and move over the JSON API."""

from typing import Any, Final

import orjson

from basalt.http import Response, json_response
from basalt.postgres import Query
from basalt.storage.api.upload import parse_metadata_header
from basalt.storage.api.validation import optional, read_json, required
from basalt.storage.call import Call
from basalt.storage.copies import Replacement, copy_object, move_object
from basalt.storage.errors import invalid_request
from basalt.storage.media import DEFAULT, parse_media_type
from basalt.storage.objects import ISO, find_object
from basalt.storage.removal import delete_object, delete_objects

WHOLE_ROW: Final = f"""
select to_jsonb(o) - 'path_tokens' || jsonb_build_object(
    'created_at', to_char(o.created_at at time zone 'utc', {ISO}),
    'updated_at', to_char(o.updated_at at time zone 'utc', {ISO}),
    'last_accessed_at', to_char(o.last_accessed_at at time zone 'utc', {ISO}))
from storage.objects as o where o.id = $1::uuid
"""  # noqa: S608 - put together from constants


async def delete(call: Call, bucket: str, path: str) -> Response:
    await delete_object(call.ctx, call.scope("storage.object.delete"), bucket, path)
    return json_response({"message": "Successfully deleted"})


async def delete_many(call: Call, bucket: str) -> Response:
    names = _names(await read_json(call.request))
    rows = await delete_objects(call.ctx, call.scope("storage.object.delete_many"), bucket, names)
    return json_response(orjson.Fragment(rows))


def _names(body: dict[str, Any]) -> list[str | tuple[str, str]]:
    """Each a name, or `{"path", "versionId"}` for one version of it."""
    entries: list[Any] = required(body, "prefixes", "array")
    if not entries:
        raise invalid_request("body/prefixes must NOT have fewer than 1 items")
    return [_name(entry, index) for index, entry in enumerate(entries)]


def _name(entry: Any, index: int) -> str | tuple[str, str]:
    match entry:
        case str():
            return entry
        case {"path": str() as path, "versionId": str() as version}:
            return path, version
        case _:
            raise invalid_request(f"body/prefixes/{index} must be string")


async def copy(call: Call) -> Response:
    body = await read_json(call.request)
    bucket: str = required(body, "bucketId", "string")
    source_name: str = required(body, "sourceKey", "string")
    name: str = required(body, "destinationKey", "string")
    target_bucket = optional(body, "destinationBucket", "string") or bucket
    scope = call.scope("storage.object.copy")
    source = await find_object(call.ctx.db, scope, bucket, source_name)
    copied = await copy_object(
        call.ctx,
        scope,
        source,
        bucket_id=target_bucket,
        name=name,
        upsert=call.request.headers.get("x-upsert") == "true",
        replacement=_replacement(call, body),
    )
    [row] = await call.ctx.db.run_or_refuse(None, Query(WHOLE_ROW, (copied.id.encode(),)), read_only=True)
    columns = orjson.loads(row.rows[0][0] or b"{}") if row.rows else {}
    return json_response({"Key": f"{target_bucket}/{name}", "Id": copied.id, **columns})


async def move(call: Call) -> Response:
    body = await read_json(call.request)
    bucket: str = required(body, "bucketId", "string")
    await move_object(
        call.ctx,
        call.scope("storage.object.move"),
        bucket,
        required(body, "sourceKey", "string"),
        to_bucket=optional(body, "destinationBucket", "string") or bucket,
        to_name=required(body, "destinationKey", "string"),
    )
    return json_response({"message": "Successfully moved"})


def _replacement(call: Call, body: dict[str, object]) -> Replacement | None:
    """With `copyMetadata: false` all of it is the request's; otherwise what the request names."""
    given = optional(body, "metadata", "object") or {}
    media_type, cache_control = given.get("mimetype"), given.get("cacheControl")
    if media_type is not None:
        parse_media_type(str(media_type))
    user_metadata = parse_metadata_header(call.request.headers.get("x-metadata"))
    if optional(body, "copyMetadata", "boolean") is False:
        return Replacement(str(media_type or DEFAULT), str(cache_control or "no-cache"), user_metadata or {})
    if not given and user_metadata is None:
        return None
    return Replacement(
        None if media_type is None else str(media_type),
        None if cache_control is None else str(cache_control),
        user_metadata,
    )
