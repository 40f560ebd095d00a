"""Requests under `/s3`: which operation, who calls, and errors in S3's shape."""

from typing import Final
from urllib.parse import unquote_to_bytes

from basalt.access import Authoriser
from basalt.http import Request, Response
from basalt.storage.context import StorageContext
from basalt.storage.errors import StorageError
from basalt.storage.failures import answer_or_refuse
from basalt.storage.names import check_bucket_name, check_object_name
from basalt.storage.s3.call import S3Call
from basalt.storage.s3.credentials import Keyring, identify
from basalt.storage.s3.errors import render_error
from basalt.storage.s3.operations import FORM, Level, Operation, find_operation
from basalt.storage.s3.payload import UNSIGNED, Payload
from basalt.storage.s3.policy_form import read_policy_form

BASE: Final = "/s3"


class S3Api:
    """One per process."""

    def __init__(self, ctx: StorageContext, authoriser: Authoriser) -> None:
        self._ctx = ctx
        self._keyring = Keyring(ctx, authoriser)

    async def respond(self, request: Request) -> Response:
        """Errors as S3's XML included."""
        response = await answer_or_refuse(
            request, self._answer(request), lambda failure: render_error(failure, request)
        )
        response.headers.append((b"x-amz-request-id", request.request_id.encode("latin-1")))
        return response

    async def _answer(self, request: Request) -> Response:
        bucket, key = split_path(request.raw_path)
        pairs = request.query()
        query = dict(pairs)
        if any("\0" in value for value in query.values()):
            raise StorageError("InvalidParameter", "A parameter holds a NUL character")
        operation = find_operation(request.method, level_of(bucket, key), query, request.headers)
        request.route = f"{BASE} {operation.name}"
        call = await self._identify(request, operation, bucket or "", key, pairs)
        return await operation.handler(call)

    async def _identify(
        self, request: Request, operation: Operation, bucket: str, key: str, pairs: list[tuple[str, str]]
    ) -> S3Call:
        """The names are looked at last: what is wrong with them is for those who may ask."""
        form = None
        if operation.header is FORM:
            form = await read_policy_form(self._keyring, request, bucket)
            caller, payload = form.caller, Payload(request, UNSIGNED)
        else:
            identity = await identify(self._keyring, request, pairs)
            caller, payload = identity.caller, identity.payload
        if operation.level != "service":
            check_bucket_name(bucket)
        if operation.level == "object":
            check_object_name(key)
        return S3Call(self._ctx, request, caller, operation.name, bucket, key, dict(pairs), payload, form)


def split_path(raw_path: str) -> tuple[str | None, str]:
    """Bucket, None where the path has none, and key, decoded; every slash of the key counts. Raises StorageError
    InvalidKey.

    >>> split_path("/s3/"), split_path("/s3/photos/"), split_path("/s3/photos//a%20b/")
    ((None, ''), ('photos', ''), ('photos', '/a b/'))
    """
    rest = raw_path.removeprefix(BASE).removeprefix("/")
    if not rest:
        return None, ""
    bucket, _, key = rest.partition("/")
    return _decode(bucket), _decode(key)


def level_of(bucket: str | None, key: str) -> Level:
    if bucket is None:
        return "service"
    return "object" if key else "bucket"


def _decode(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        raise StorageError("InvalidKey", "Invalid key: not UTF-8") from error
