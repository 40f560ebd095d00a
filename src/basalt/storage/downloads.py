"""An object on its way out: preconditions, ranges, headers, bytes. JSON API and S3 share it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from basalt.http import (
    Headers,
    RangeError,
    Request,
    Response,
    check_conditions,
    is_range_current,
    parse_range,
)
from basalt.storage.context import StorageContext
from basalt.storage.errors import StorageError, content_missing
from basalt.storage.figures import BYTES
from basalt.storage.objects import StoredObject
from basalt.storage.stores import ContentMissingError

Raw = tuple[bytes, bytes]

# A page on the API's own address must not run what users uploaded: HTML is shown as text, and markup that browsers
# would run gets no rights. `nosniff` keeps them from seeing a page where the type says there is none.
AS_TEXT: Final = frozenset({"text/html"})
SANDBOXED: Final = re.compile(r"(?:text|application)/xml|[a-z0-9.-]+/[a-z0-9.-]+\+xml|text/xsl|multipart/.*")
NOSNIFF: Final = (b"x-content-type-options", b"nosniff")
SANDBOX: Final = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox",
)
REDIRECT_LIFE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Presentation:
    """How an object is to be handed out. `cache_control` is what the header says, None leaves it out; `content_type`
    and `content_encoding` override the object's own; `headers` are added as they are. `stale_on_change` tells caches
    that they may serve the old bytes a little longer to whoever asks with an outdated `If-None-Match`. With
    `html_as_text` False, HTML is called by its name and sandboxed like other markup."""

    cache_control: str | None
    content_type: str | None = None
    content_encoding: str | None = None
    html_as_text: bool = True
    headers: Sequence[Raw] = ()
    stale_on_change: bool = False
    may_redirect: bool = False


async def serve_object(
    ctx: StorageContext, request: Request, found: StoredObject, how: Presentation
) -> Response:
    """200, 206, 304 or a redirect. Raises StorageError PreconditionFailed, InvalidRange, NoSuchKey."""
    headers = describe(found, how)
    outcome = check_conditions(request.headers, etag=found.etag, last_modified=found.last_modified)
    if outcome == "failed":
        raise StorageError("PreconditionFailed")
    if outcome == "not_modified":
        return Response(304, headers)
    headers = describe(found, for_a_changed_object(request, how))
    if how.may_redirect and ctx.settings.s3.redirect_downloads and request.method == "GET":
        url = await ctx.store.presign(found.version or "", expires_s=REDIRECT_LIFE_S)
        if url is not None:
            return Response(302, [(b"location", url.encode()), (b"cache-control", b"no-store")])
    asked = _asked_range(request.headers, found)
    start, stop = asked or (0, found.size)
    headers.append((b"content-length", b"%d" % (stop - start)))
    if asked is not None:
        headers.append((b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, found.size)))
    status = 200 if asked is None else 206
    if request.method == "HEAD":
        return Response(status, headers)
    try:
        body = await ctx.store.read(found.version or "", start, stop)
    except ContentMissingError as error:
        raise content_missing() from error
    BYTES.add(stop - start, "out")
    return Response(status, headers, body)


def for_a_changed_object(request: Request, how: Presentation) -> Presentation:
    """The same, with the leave to serve old bytes a little longer where the client asked with an outdated ETag."""
    if not how.stale_on_change or how.cache_control is None or "if-none-match" not in request.headers:
        return how
    return replace(how, cache_control=f"{how.cache_control}, stale-while-revalidate=30")


def describe(found: StoredObject, how: Presentation) -> list[Raw]:
    """The headers of the whole object, but for its length."""
    media_type = how.content_type or found.content_type
    essence = media_type.partition(";")[0].strip().lower()
    if essence in AS_TEXT and how.html_as_text:
        media_type = "text/plain"
    headers = [
        (b"accept-ranges", b"bytes"),
        (b"content-type", _header(media_type)),
        (b"etag", _header(found.etag)),
        (b"last-modified", http_date(found.last_modified).encode()),
        NOSNIFF,
        *how.headers,
    ]
    if how.cache_control is not None:
        headers.append((b"cache-control", _header(how.cache_control)))
    content_encoding = how.content_encoding or found.content_encoding
    if content_encoding is not None:
        headers.append((b"content-encoding", _header(content_encoding)))
    if SANDBOXED.fullmatch(essence) or (essence in AS_TEXT and not how.html_as_text):
        headers.append(SANDBOX)
    return headers


def _header(value: str) -> bytes:
    """What is in a row may be anything; a header is one line of Latin-1."""
    if value.isascii() and value.isprintable():
        return value.encode()
    return "".join(char for char in value if char.isprintable()).encode("latin-1", "replace")


@lru_cache(maxsize=4096)
def http_date(moment: datetime) -> str:
    """RFC 9110 §5.6.7; fractions of a second are lost."""
    return format_datetime(moment, usegmt=True)


def attachment(name: str) -> Raw:
    """`Content-Disposition` for `?download` and `?download=NAME`.

    >>> attachment("na mé.txt")[1]
    b"attachment; filename=na%20m%C3%A9.txt; filename*=UTF-8''na%20m%C3%A9.txt"
    """
    if not name:
        return b"content-disposition", b"attachment;"
    encoded = quote(name, safe="!'()*-._~")
    return b"content-disposition", f"attachment; filename={encoded}; filename*=UTF-8''{encoded}".encode()


def _asked_range(headers: Headers, found: StoredObject) -> tuple[int, int] | None:
    header = headers.get("range")
    if header is None or not is_range_current(headers, etag=found.etag, last_modified=found.last_modified):
        return None
    try:
        return parse_range(header, found.size)
    except RangeError as error:
        raise StorageError("InvalidRange", headers=(("content-range", f"bytes */{found.size}"),)) from error
