"""Objects one at a time: put, get, copied."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import unquote

from basalt.http import Response, check_conditions
from basalt.storage.copies import Replacement, copy_object
from basalt.storage.downloads import Presentation, serve_object
from basalt.storage.errors import StorageError
from basalt.storage.names import EMPTY_FOLDER, check_bucket_name, check_object_name
from basalt.storage.objects import StoredObject, find_object, iso_now
from basalt.storage.s3.call import S3Call
from basalt.storage.s3.metadata import (
    build_new_object,
    fields_of,
    metadata_headers,
    override_headers,
)
from basalt.storage.s3.xml import xml_response
from basalt.storage.uploads import permit_upload, store_upload

EXTRA_HEADERS: Final = ("content-disposition", "content-language", "expires")
OVERRIDABLE: Final = ("content-type", "cache-control", "content-encoding", *EXTRA_HEADERS)


async def put(call: S3Call) -> Response:
    """`If-None-Match: *` stores only where there is nothing yet; other conditions cannot be kept."""
    condition = call.request.headers.get("if-none-match")
    if condition not in (None, "*") or "if-match" in call.request.headers:
        raise StorageError("NotImplemented", "Of conditions for writing there is If-None-Match: * only")
    key = call.key
    if key.endswith("/") and call.payload.size == 0:
        key += EMPTY_FOLDER  # folders of the JSON API
    fields = fields_of(call.request.headers, call.query)
    new = build_new_object(call.bucket, key, fields, size=call.payload.size, upsert=condition is None)
    try:
        permit = await permit_upload(call.ctx, call.scope, new)
        stored = await store_upload(call.ctx, call.scope, permit, call.payload.stream())
    except StorageError as error:
        if error.code == "KeyAlreadyExists":
            raise StorageError("PreconditionFailed") from error
        raise
    return Response(200, [(b"etag", stored.etag.encode("latin-1"))])


async def get(call: S3Call) -> Response:
    """And HEAD."""
    found = await find_object(call.ctx.db, call.scope, call.bucket, call.key)
    overrides = override_headers(call.query, OVERRIDABLE)
    extra = [(name.encode(), overrides[name].encode()) for name in EXTRA_HEADERS if name in overrides]
    how = Presentation(
        cache_control=overrides.get("cache-control", found.cache_control),
        content_type=overrides.get("content-type"),
        content_encoding=overrides.get("content-encoding"),
        headers=[*extra, *metadata_headers(found.user_metadata)],
        html_as_text=False,
    )
    return await serve_object(call.ctx, call.request, found, how)


async def get_tagging(call: S3Call) -> Response:
    """Objects have no tags."""
    await find_object(call.ctx.db, call.scope, call.bucket, call.key)
    return xml_response("Tagging", [("TagSet", [])])


async def copy(call: S3Call) -> Response:
    headers = call.request.headers
    directive = headers.get("x-amz-metadata-directive") or "COPY"
    if directive not in ("COPY", "REPLACE"):
        raise StorageError("InvalidRequest", "x-amz-metadata-directive must be COPY or REPLACE")
    source = await find_source(call)
    replacement = None
    if directive == "REPLACE":
        replacement = _replacement(call, fields_of(headers, {}))
        source = replace(source, metadata=_bytes_only(source), user_metadata={})
    copied = await copy_object(
        call.ctx,
        call.scope,
        source,
        bucket_id=call.bucket,
        name=call.key,
        upsert=True,
        replacement=replacement,
    )
    return xml_response("CopyObjectResult", [("LastModified", iso_now()), ("ETag", copied.etag)])


def _replacement(call: S3Call, fields: Mapping[str, str]) -> Replacement:
    new = build_new_object(call.bucket, call.key, fields, size=None)
    return Replacement(
        content_type=new.content_type,
        cache_control=new.cache_control,
        user_metadata=new.user_metadata,
        content_encoding=new.content_encoding,
    )


def _bytes_only(source: StoredObject) -> dict[str, object]:
    return {name: source.metadata[name] for name in ("eTag", "size") if name in source.metadata}


async def find_source(call: S3Call) -> StoredObject:
    """The object that `x-amz-copy-source` names, as the caller may see it. Raises StorageError InvalidKey, NoSuchKey,
    PreconditionFailed."""
    headers = call.request.headers
    bucket, key = parse_copy_source(headers.get("x-amz-copy-source") or "")
    found = await find_object(call.ctx.db, call.scope, bucket, key)
    outcome = check_conditions(
        headers, etag=found.etag, last_modified=found.last_modified, prefix="x-amz-copy-source-"
    )
    if outcome != "proceed":
        raise StorageError("PreconditionFailed")
    return found


def parse_copy_source(header: str) -> tuple[str, str]:
    """Bucket and key, which may be percent-encoded.

    >>> parse_copy_source("/photos/a%20b.png"), parse_copy_source("photos/x")
    (('photos', 'a b.png'), ('photos', 'x'))
    """
    if re.search(r"\?versionId=(?!null$)", header):
        raise StorageError("NotImplemented", "Objects have no versions")
    bucket, _, key = unquote(header.removesuffix("?versionId=null").removeprefix("/")).partition("/")
    return check_bucket_name(bucket), check_object_name(key)
