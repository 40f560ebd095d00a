"""Objects deleted: one, or up to a thousand at once."""

from typing import Final

import orjson

from basalt.http import Response
from basalt.postgres import Query
from basalt.storage.errors import StorageError
from basalt.storage.names import check_object_name
from basalt.storage.removal import delete_object, delete_objects
from basalt.storage.s3.call import S3Call, check_bucket_exists
from basalt.storage.s3.xml import Value, child_text, children, parse_xml, xml_response

MAX_KEYS: Final = 1000

STILL_THERE: Final = """
select o.name from storage.objects as o
where o.bucket_id = $1 and o.name in (select jsonb_array_elements_text($2::jsonb))
"""


async def delete(call: S3Call) -> Response:
    """204 also where there was none."""
    try:
        await delete_object(call.ctx, call.scope, call.bucket, call.key)
    except StorageError as error:
        if error.code != "NoSuchKey":
            raise
        await check_bucket_exists(call)
    return Response(204)


async def delete_many(call: S3Call) -> Response:
    """What is still there afterwards was not the caller's to delete."""
    document = await parse_xml(await call.payload.read(), "Delete")
    keys = [child_text(element, "Key") or "" for element in children(document, "Object")]
    if not 1 <= len(keys) <= MAX_KEYS:
        raise StorageError("MalformedXML", f"Invalid XML payload: from 1 to {MAX_KEYS} objects are expected")
    await check_bucket_exists(call)
    errors = {key: error for key in keys if (error := _name_error(key)) is not None}
    names = [key for key in keys if key not in errors]
    gone = orjson.loads(await delete_objects(call.ctx, call.scope, call.bucket, names))
    left = set(names) - {row["name"] for row in gone}
    query = Query(STILL_THERE, (call.bucket.encode(), orjson.dumps(list(left))))
    [found] = await call.ctx.db.run_or_refuse(None, query, read_only=True)
    for [name] in found.rows:
        errors[(name or b"").decode()] = StorageError("AccessDenied", "Access Denied")
    is_quiet = child_text(document, "Quiet") == "true"
    deleted: list[tuple[str, Value]] = [
        ("Deleted", [("Key", key)]) for key in keys if key not in errors and not is_quiet
    ]
    failed: list[tuple[str, Value]] = [
        ("Error", [("Key", key), ("Code", errors[key].code), ("Message", errors[key].message)])
        for key in keys
        if key in errors
    ]
    return xml_response("DeleteResult", [*deleted, *failed])


def _name_error(key: str) -> StorageError | None:
    try:
        check_object_name(key)
    except StorageError as error:
        return error
    return None
