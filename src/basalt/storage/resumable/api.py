"""Requests under `/upload/resumable`: which upload, which method, who asks, and errors in TUS's shape."""

import re
from typing import Final

from basalt.access import Authoriser, Caller
from basalt.http import Request, Response
from basalt.storage.call import authorise
from basalt.storage.context import StorageContext
from basalt.storage.errors import StorageError, render_error
from basalt.storage.failures import answer_or_refuse
from basalt.storage.resumable import handlers
from basalt.storage.resumable.leases import Leases
from basalt.storage.resumable.visits import Visit

VERSION: Final = b"1.0.0"
EXTENSIONS: Final = b"creation,creation-with-upload,creation-defer-length,termination,expiration"
PATH: Final = re.compile(
    r"/upload/resumable(?P<sign>/sign)?(?:/(?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}))?/?"
)
ROUTE: Final = "/upload/resumable"
RESUMABLE: Final = (b"tus-resumable", VERSION)
VERSIONS: Final = (b"tus-version", VERSION)

ON_UPLOADS: Final = {
    "HEAD": handlers.report_progress,
    "PATCH": handlers.append,
    "DELETE": handlers.terminate,
}


class ResumableApi:
    """One per process."""

    def __init__(self, ctx: StorageContext, authoriser: Authoriser) -> None:
        self._ctx = ctx
        self._authoriser = authoriser
        self._leases = Leases(ctx.db, ctx.store, expiry_s=ctx.settings.resumable_expiry_s)

    async def respond(self, request: Request) -> Response:
        """Errors in TUS's shape included: the real status and plain text."""
        response = await answer_or_refuse(request, self._answer(request), _render)
        response.headers.append(RESUMABLE)
        return response

    async def _answer(self, request: Request) -> Response:
        method = request.headers.get("x-http-method-override") or request.method
        found = PATH.fullmatch(request.raw_path)
        if found is not None and method == "OPTIONS":
            return self._offer()
        handler = ON_UPLOADS.get(method)
        is_creation = found is not None and found["id"] is None and method == "POST"
        if found is None or (not is_creation and (handler is None or found["id"] is None)):
            return _text(404, "Not found")
        caller: Caller | None = None
        if found["sign"] is None:
            try:
                caller = authorise(self._authoriser, request)
            except StorageError as error:  # the one that has the shape of the JSON API
                return render_error(error)
        if request.headers.get("tus-resumable") != VERSION.decode():
            return _text(412, "Tus-Resumable Required", VERSIONS)
        request.route = f"{ROUTE}/{{id}}" if found["id"] else ROUTE
        visit = Visit(self._ctx, self._leases, request, caller)
        if handler is None or found["id"] is None:
            return await handlers.create(visit)
        return await handler(visit, found["id"])

    def _offer(self) -> Response:
        """A browser's own question before a request of another origin is answered by the gateway."""
        most = b"%d" % self._ctx.service.file_size_limit_bytes
        return Response(204, [VERSIONS, (b"tus-extension", EXTENSIONS), (b"tus-max-size", most)])


def _render(failure: StorageError) -> Response:
    message = "Maximum size exceeded" if failure.code == "EntityTooLarge" else failure.message
    status = failure.http_status if failure.http_status >= 500 else failure.status
    response = _text(status, message)
    response.headers.extend((name.encode(), value.encode("latin-1")) for name, value in failure.headers)
    return response


def _text(status: int, message: str, *headers: tuple[bytes, bytes]) -> Response:
    return Response(status, [(b"content-type", b"text/plain; charset=utf-8"), *headers], message.encode())
