"""`POST` and `PUT /object/{bucket}/{path}`: an upload as a raw body or as a form."""

import base64
from dataclasses import replace
from typing import Any, Final

import orjson

from basalt.http import Response, json_response
from basalt.storage.api.form import FormUpload, boundary_of
from basalt.storage.call import Call
from basalt.storage.database import Scope
from basalt.storage.media import DEFAULT, parse_media_type
from basalt.storage.objects import StoredObject
from basalt.storage.uploads import NewObject, commit_upload, permit_upload, store_content, store_upload

NO_LIMIT: Final = 2**63 - 1  # the permit has one


async def create(call: Call, bucket: str, path: str) -> Response:
    upsert = call.request.headers.get("x-upsert") == "true"
    stored = await receive(call, call.scope("storage.object.upload"), bucket, path, upsert=upsert)
    return json_response({"Key": f"{bucket}/{path}", "Id": stored.id})


async def replace_or_create(call: Call, bucket: str, path: str) -> Response:
    stored = await receive(call, call.scope("storage.object.upload_update"), bucket, path, upsert=True)
    return json_response({"Key": f"{bucket}/{path}", "Id": stored.id})


async def receive(call: Call, scope: Scope, bucket: str, path: str, *, upsert: bool) -> StoredObject:
    """Take the body in, as whatever it is. Raises StorageError."""
    boundary = boundary_of(call.request.headers.get("content-type"))
    if boundary is not None:
        return await _receive_form(call, scope, bucket, path, boundary, upsert=upsert)
    headers = call.request.headers
    announced = headers.get("content-length")
    new = NewObject(
        bucket_id=bucket,
        name=path,
        content_type=_declared_type(headers.get("content-type")),
        cache_control=headers.get("cache-control") or "no-cache",
        user_metadata=parse_metadata_header(headers.get("x-metadata")),
        size=int(announced) if announced is not None and announced.isdecimal() else None,
        upsert=upsert,
        robots=headers.get("x-robots-tag"),
        content_encoding=headers.get("content-encoding"),
    )
    permit = await permit_upload(call.ctx, scope, new)
    return await store_upload(call.ctx, scope, permit, call.request.stream(NO_LIMIT))


async def _receive_form(
    call: Call, scope: Scope, bucket: str, path: str, boundary: bytes, *, upsert: bool
) -> StoredObject:
    """Permission is asked for with what is known when the file begins. Fields after it may still change its type,
    which is then asked for again."""
    form = FormUpload(boundary, call.request.stream(NO_LIMIT))
    await form.find_file()
    new = NewObject(
        bucket_id=bucket,
        name=path,
        content_type=_form_type(form),
        user_metadata=_form_metadata(form),
        upsert=upsert,
        robots=call.request.headers.get("x-robots-tag"),
    )
    permit = await permit_upload(call.ctx, scope, new)
    content = await store_content(call.ctx, permit, form.file())
    seconds = form.fields.get("cacheControl")
    new = replace(
        new,
        content_type=_form_type(form),
        cache_control="no-cache" if seconds is None else f"max-age={seconds}",
        user_metadata=_form_metadata(form),
        content_encoding=form.fields.get("contentEncoding"),
    )
    if (new.content_type, new.user_metadata) != (permit.new.content_type, permit.new.user_metadata):
        try:
            permit = await permit_upload(call.ctx, scope, new, version=permit.version)
        except BaseException:
            await call.ctx.store.delete([permit.version])
            raise
    return await commit_upload(call.ctx, scope, replace(permit, new=new), content)


def parse_metadata_header(header: str | None) -> dict[str, Any] | None:
    """`x-metadata`: a JSON object in Base64. Rubbish is ignored.

    >>> parse_metadata_header("eyJhIjoiYiJ9"), parse_metadata_header("rubbish!")
    ({'a': 'b'}, None)
    """
    if header is None:
        return None
    try:
        return _object(base64.b64decode(header + "=" * (-len(header) % 4), validate=True))
    except ValueError:
        return None


def _object(text: str | bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _declared_type(header: str | None) -> str:
    """As sent, when it can be parsed at all. Raises StorageError InvalidMimeType."""
    if not header:
        return DEFAULT
    parse_media_type(header)
    return header


def _form_type(form: FormUpload) -> str:
    """The field wins over the part's own header, which clients' libraries adorn with a charset."""
    given = form.fields.get("contentType") or form.content_type or DEFAULT
    media_type = parse_media_type(given)
    return media_type if given is form.content_type else given


def _form_metadata(form: FormUpload) -> dict[str, Any] | None:
    given = form.fields.get("metadata") or form.fields.get("userMetadata")
    return None if given is None else _object(given)
