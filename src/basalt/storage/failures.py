"""Whatever went wrong in a request, as an error of the catalogue, for every protocol of the room."""

from collections.abc import Awaitable, Callable

from basalt import observe
from basalt.errors import BasaltError
from basalt.http import ClientDisconnectedError, Request, Response
from basalt.postgres import PostgresError
from basalt.storage.errors import StorageError, error_of_postgres
from basalt.storage.stores import StoreFullError, StoreUnavailableError


def storage_error(error: Exception) -> StorageError:
    """Whatever went wrong, as an error of the catalogue; the cause stays with it for the log."""
    match error:
        case StorageError():
            return error
        case PostgresError():
            failure = error_of_postgres(error)
        case StoreFullError():
            failure = StorageError("StoreFull")
        case StoreUnavailableError():
            failure = StorageError("ServiceUnavailable")
        case BasaltError() if error.code == "payload_too_large":
            failure = StorageError("EntityTooLarge")
        case BasaltError() if error.status < 500:
            failure = StorageError("InvalidRequest", error.message, label="Error")
        case _:
            failure = StorageError("InternalError")
    failure.__cause__ = error
    return failure


def report(request: Request, failure: StorageError) -> None:
    """What is nobody's fault but ours."""
    observe.event(
        "storage_failed",
        level="error" if failure.status == 500 else "warning",
        method=request.method,
        path=request.raw_path,
        code=failure.code,
        error=failure.__cause__ or failure,
    )


async def answer_or_refuse(
    request: Request, answer: Awaitable[Response], render: Callable[[StorageError], Response]
) -> Response:
    """The answer, or what went wrong in the shape of the request's protocol. Raises ClientDisconnectedError."""
    try:
        return await answer
    except ClientDisconnectedError:
        raise
    except Exception as error:
        failure = storage_error(error)
        if failure.status >= 500:
            report(request, failure)
        return render(failure)
