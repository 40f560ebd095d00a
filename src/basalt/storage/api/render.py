"""`GET /render/image/…`: an image transformed on its way out."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from basalt.http import Response, check_conditions
from basalt.storage.api.answers import unknown_route
from basalt.storage.api.download import download_headers, robots_header, signed_token
from basalt.storage.call import Call
from basalt.storage.context import StorageContext
from basalt.storage.downloads import (
    Presentation,
    Raw,
    describe,
    for_a_changed_object,
    http_date,
    serve_object,
)
from basalt.storage.errors import StorageError, content_missing
from basalt.storage.images import (
    PassedThrough,
    Plan,
    build_key,
    choose_format,
    list_transformations,
    parse_claims,
    parse_query,
)
from basalt.storage.objects import StoredObject, find_object, find_readable
from basalt.storage.stores import ContentMissingError

KEPT_WHEN_NOT_MODIFIED = frozenset({b"etag", b"last-modified", b"cache-control", b"expires", b"vary"})


async def public(call: Call, bucket: str, path: str) -> Response:
    if not _is_enabled(call):
        return unknown_route(call.request)
    plan = parse_query(dict(call.request.query()))
    found = await call.ctx.public.find(bucket, path)
    return await _serve(call, found, plan, found.cache_control)


async def authenticated(call: Call, bucket: str, path: str) -> Response:
    if not _is_enabled(call):
        return unknown_route(call.request)
    plan = parse_query(dict(call.request.query()))
    found = await find_readable(call.ctx.db, call.scope("storage.render.image_authenticated"), bucket, path)
    return await _serve(call, found, plan, found.cache_control)


async def signed(call: Call, bucket: str, path: str) -> Response:
    """The token says what is done, not the query."""
    if not _is_enabled(call):
        return unknown_route(call.request)
    claims = call.ctx.signer.verify_url(signed_token(call), "download", bucket, path)
    found = await find_object(call.ctx.db, None, bucket, path)
    expires = (b"expires", http_date(datetime.fromtimestamp(claims["exp"], UTC)).encode())
    return await _serve(call, found, parse_claims(claims), None, expires)


def _is_enabled(call: Call) -> bool:
    return call.ctx.service.image_transformation.enabled


async def _serve(
    call: Call, found: StoredObject, plan: Plan, cache_control: str | None, *headers: Raw
) -> Response:
    """The result has an ETag of its own, known before the result is."""
    ctx, request = call.ctx, call.request
    target = choose_format(plan, request.headers.get("accept") or "")
    key = build_key(found.version or "", plan, target)
    shown = replace(found, metadata={**found.metadata, "eTag": f'"{key[:32]}"', "contentEncoding": None})
    how = Presentation(
        cache_control, headers=[*headers, *_own_headers(call, found, plan)], stale_on_change=True
    )
    outcome = check_conditions(request.headers, etag=shown.etag, last_modified=shown.last_modified)
    if outcome == "failed":
        raise StorageError("PreconditionFailed")
    if outcome == "not_modified":
        return Response(304, [pair for pair in describe(shown, how) if pair[0] in KEPT_WHEN_NOT_MODIFIED])
    fetch = partial(fetch_source, ctx, found)
    image = await ctx.renderer.render(found.version or "", found.size, plan, target, fetch)
    how = replace(how, content_type=image.content_type)
    if isinstance(image, PassedThrough):
        return await serve_object(ctx, request, shown, how)
    described = describe(shown, for_a_changed_object(request, how))
    response_headers = [*described, (b"content-length", b"%d" % len(image.data))]
    return Response(200, response_headers, b"" if request.method == "HEAD" else image.data)


async def fetch_source(ctx: StorageContext, found: StoredObject) -> Path | bytes:
    """Where the bytes are, or all of them: the renderer has looked at their number. Raises StorageError NoSuchKey."""
    version = found.version or ""
    try:
        path = await ctx.store.local_file(version)
        if path is not None:
            return path
        content = await ctx.store.read(version, 0, found.size)
        return content if isinstance(content, bytes) else b"".join([chunk async for chunk in content])
    except (ContentMissingError, ValueError) as error:
        raise content_missing() from error


def _own_headers(call: Call, found: StoredObject, plan: Plan) -> list[Raw]:
    headers = [*download_headers(call), robots_header(found)]
    if applied := list_transformations(plan):
        headers.append((b"x-transformations", ",".join(applied).encode()))
    if plan.format is None:
        headers.append((b"vary", b"Accept"))
    return headers
