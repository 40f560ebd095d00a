"""`GET` and `HEAD` of objects and of what is known about them."""

from datetime import UTC, datetime

from basalt.http import Response, check_conditions, json_response
from basalt.storage.call import Call
from basalt.storage.downloads import Presentation, Raw, attachment, describe, http_date, serve_object
from basalt.storage.errors import StorageError, invalid_request
from basalt.storage.objects import StoredObject, find_object, find_readable


async def get_public(call: Call, bucket: str, path: str) -> Response:
    found = await call.ctx.public.find(bucket, path)
    _check_version(call, found)
    return await serve_object(call.ctx, call.request, found, present(call, found))


async def get_authenticated(call: Call, bucket: str, path: str) -> Response:
    found = call.ctx.public.known(bucket, path)
    if found is None:
        scope = call.scope("storage.object.get_authenticated")
        found = await find_readable(call.ctx.db, scope, bucket, path)
    _check_version(call, found)
    return await serve_object(call.ctx, call.request, found, present(call, found))


async def get_either(call: Call, bucket: str, path: str) -> Response:
    """Without a token, objects of public buckets only."""
    headers = call.request.headers
    if "authorization" in headers or "apikey" in headers:
        return await get_authenticated(call, bucket, path)
    return await get_public(call, bucket, path)


async def get_signed(call: Call, bucket: str, path: str) -> Response:
    claims = call.ctx.signer.verify_url(signed_token(call), "download", bucket, path)
    found = await find_object(call.ctx.db, None, bucket, path)
    expires = (b"expires", http_date(datetime.fromtimestamp(claims["exp"], UTC)).encode())
    how = Presentation(
        None, headers=[expires, *download_headers(call), robots_header(found)], may_redirect=True
    )
    return await serve_object(call.ctx, call.request, found, how)


async def get_pending(call: Call, version: str) -> Response:
    """The bytes of an upload that the hook is asked about."""
    claims = call.ctx.signer.verify(signed_token(call), "scan")
    if claims.get("version") != version:
        raise StorageError("InvalidSignature")
    size = claims["size"]
    body = await call.ctx.store.read(version, 0, size)
    headers = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % size)]
    return Response(200, headers, body)


async def info_public(call: Call, bucket: str, path: str) -> Response:
    return _render_info(call, await call.ctx.public.find(bucket, path))


async def info_authenticated(call: Call, bucket: str, path: str) -> Response:
    is_head = call.request.method == "HEAD"
    operation = "object.head_authenticated_info" if is_head else "object.get_authenticated_info"
    return _render_info(call, await find_readable(call.ctx.db, call.scope(operation), bucket, path))


async def info_either(call: Call, bucket: str, path: str) -> Response:
    headers = call.request.headers
    if "authorization" in headers or "apikey" in headers:
        return await info_authenticated(call, bucket, path)
    return await info_public(call, bucket, path)


def present(call: Call, found: StoredObject) -> Presentation:
    return Presentation(
        found.cache_control,
        headers=[*download_headers(call), robots_header(found)],
        stale_on_change=True,
        may_redirect=True,
    )


def download_headers(call: Call) -> list[Raw]:
    """`Content-Disposition` where the query asks for it."""
    if b"download" not in call.request.query_string:
        return []
    name = dict(call.request.query()).get("download")
    return [] if name is None else [attachment(name)]


def _check_version(call: Call, found: StoredObject) -> None:
    """`?versionId=`: only the version that the row names can be had. Raises StorageError NoSuchKey."""
    if b"versionId=" in call.request.query_string:
        wanted = dict(call.request.query()).get("versionId")
        if wanted and wanted != found.version:
            raise StorageError("NoSuchKey")


def signed_token(call: Call) -> str:
    """Raises StorageError InvalidRequest."""
    token = dict(call.request.query()).get("token")
    if token is None:
        raise invalid_request("querystring must have required property 'token'")
    return token


def robots_header(found: StoredObject) -> Raw:
    return b"x-robots-tag", found.robots.encode("latin-1", "replace")


def _render_info(call: Call, found: StoredObject) -> Response:
    head = describe(found, Presentation(found.cache_control))
    headers = [pair for pair in head if pair[0] in (b"etag", b"last-modified", b"cache-control")]
    outcome = check_conditions(call.request.headers, etag=found.etag, last_modified=found.last_modified)
    if outcome == "not_modified":
        return Response(304, headers)
    response = json_response(
        {
            "id": found.id,
            "name": found.name,
            "version": found.version,
            "bucket_id": found.bucket_id,
            "size": found.size,
            "content_type": found.content_type,
            "cache_control": found.cache_control,
            "etag": found.etag,
            "metadata": found.user_metadata,
            "last_modified": _iso(found.last_modified),
            "created_at": found.created_at,
        }
    )
    response.headers.extend(headers)
    return response


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
