"""Multipart uploads: begun, looked up, aborted, listed.

An upload is a row that the tables' owner writes. Who may go on with it is asked of the policies on objects, at every
step anew; lists of uploads show what policies on the upload table let the caller see.
"""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

import orjson

from basalt.http import Response
from basalt.postgres import Query
from basalt.storage.errors import StorageError
from basalt.storage.objects import ISO
from basalt.storage.s3.call import S3Call, check_bucket_exists
from basalt.storage.s3.listing import encoder
from basalt.storage.s3.metadata import build_new_object, fields_of
from basalt.storage.s3.xml import Value, xml_response
from basalt.storage.uploads import NewObject, permit_upload

MAX_UPLOADS: Final = 1000

CREATE_UPLOAD: Final = """
insert into storage.s3_multipart_uploads
    (id, upload_signature, bucket_id, key, version, owner_id, user_metadata, metadata)
values ($1, '', $2, $3, $4, $5, $6::jsonb, $7::jsonb)
"""
FIND_UPLOAD: Final = """
select u.user_metadata, u.metadata from storage.s3_multipart_uploads as u
where u.id = $1 and u.bucket_id = $2 and u.key = $3
"""
ABORT_UPLOAD: Final = "delete from storage.s3_multipart_uploads where id = $1 returning id"

LIST_UPLOADS: Final = f"""
select l.key, l.id, to_char(l.created_at at time zone 'utc', {ISO})
from storage.list_multipart_uploads_with_delimiter($1, $2, $3, $4::integer, $5, $6) as l
"""  # noqa: S608 - put together from constants


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload under way; `new` is the object that it will be."""

    id: str
    new: NewObject


async def create(call: S3Call) -> Response:
    fields = fields_of(call.request.headers, call.query)
    new = build_new_object(call.bucket, call.key, fields, size=None)
    scope = call.scope
    permit = await permit_upload(call.ctx, scope, new)
    upload_id = str(uuid4())
    metadata = {
        "mimetype": new.content_type,
        "cacheControl": new.cache_control,
        "contentEncoding": new.content_encoding,
    }
    params = (
        upload_id.encode(),
        new.bucket_id.encode(),
        new.name.encode(),
        permit.version.encode(),
        None if scope.owner_id is None else scope.owner_id.encode(),
        orjson.dumps(new.user_metadata),
        orjson.dumps(metadata),
    )
    await call.ctx.db.run_or_refuse(None, Query(CREATE_UPLOAD, params))
    return xml_response(
        "InitiateMultipartUploadResult",
        [("Bucket", call.bucket), ("Key", call.key), ("UploadId", upload_id)],
    )


async def find_upload(call: S3Call) -> Upload:
    """The upload that the request names, for this very key. Raises StorageError NoSuchUpload."""
    upload_id = check_upload_id(call.query.get("uploadId") or "")
    query = Query(FIND_UPLOAD, (upload_id.encode(), call.bucket.encode(), call.key.encode()))
    [found] = await call.ctx.db.run_or_refuse(None, query, read_only=True)
    if not found.rows:
        raise StorageError("NoSuchUpload")
    user_metadata, metadata = (orjson.loads(value or b"{}") or {} for value in found.rows[0])
    return Upload(upload_id, _new_object(call, user_metadata, metadata))


def _new_object(call: S3Call, user_metadata: dict[str, Any], metadata: dict[str, Any]) -> NewObject:
    return NewObject(
        bucket_id=call.bucket,
        name=call.key,
        content_type=metadata.get("mimetype"),
        cache_control=metadata.get("cacheControl") or "no-cache",
        user_metadata=user_metadata,
        upsert=True,
        content_encoding=metadata.get("contentEncoding"),
    )


def check_upload_id(upload_id: str) -> str:
    """Raises StorageError NoSuchUpload for what `create` cannot have made."""
    try:
        is_ours = str(UUID(upload_id)) == upload_id
    except ValueError:
        is_ours = False
    if not is_ours:
        raise StorageError("NoSuchUpload")
    return upload_id


async def abort(call: S3Call) -> Response:
    upload = await find_upload(call)
    await permit_upload(call.ctx, call.scope, upload.new)
    [gone] = await call.ctx.db.run_or_refuse(None, Query(ABORT_UPLOAD, (upload.id.encode(),)))
    if not gone.rows:  # finished or aborted in the meantime
        raise StorageError("NoSuchUpload")
    await call.ctx.store.discard_upload(upload.id)
    return Response(200)


async def list_all(call: S3Call) -> Response:
    await check_bucket_exists(call)
    most = call.number("max-uploads", MAX_UPLOADS, low=1, high=MAX_UPLOADS)
    prefix, delimiter = call.query.get("prefix") or "", call.query.get("delimiter") or ""
    key_marker, id_marker = call.query.get("key-marker") or "", call.query.get("upload-id-marker") or ""
    params = (call.bucket, prefix, delimiter, str(most + 1), key_marker, id_marker)
    query = Query(LIST_UPLOADS, tuple(param.encode() for param in params))
    [result] = await call.ctx.db.run_or_refuse(call.scope, query, read_only=True)
    rows = [tuple((value or b"").decode() for value in row) for row in result.rows]
    is_truncated, rows = len(rows) > most, rows[:most]
    encode = encoder(call)
    uploads: list[tuple[str, Value]] = []
    folders: list[tuple[str, Value]] = []
    for key, upload_id, created_at in rows:
        if delimiter and delimiter in key.removeprefix(prefix):
            folders.append(("CommonPrefixes", [("Prefix", encode(key))]))
            continue
        entry = [("Key", encode(key)), ("UploadId", upload_id), ("Initiated", created_at)]
        uploads.append(("Upload", [*entry, ("StorageClass", "STANDARD")]))
    return xml_response(
        "ListMultipartUploadsResult",
        [
            ("Bucket", call.bucket),
            ("KeyMarker", encode(key_marker)),
            ("UploadIdMarker", id_marker),
            ("NextKeyMarker", encode(rows[-1][0]) if is_truncated else None),
            ("NextUploadIdMarker", rows[-1][1] if is_truncated else None),
            ("Prefix", encode(prefix)),
            ("Delimiter", encode(delimiter) if delimiter else None),
            ("EncodingType", "url" if call.query.get("encoding-type") == "url" else None),
            ("MaxUploads", most),
            ("IsTruncated", is_truncated),
            *uploads,
            *folders,
        ],
    )
