"""The base error and how errors travel.

A service raises its own subclass, which names a code from the service's table and renders the service's own
JSON. Whatever else reaches the edge of a request is rendered by the gateway in the one structured shape of
`render_error`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any


class BasaltError(Exception):
    """An error meant for the caller. `code` is the service's own, `status` is HTTP's; `message`, `details`
    and `hint` are shown to the caller, `__cause__` only ever to the log."""

    def __init__(
        self,
        code: str,
        status: int,
        message: str,
        *,
        details: object = None,
        hint: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.message = message
        self.details = details
        self.hint = hint
        self.headers = tuple(headers)


def render_error(error: BasaltError, request_id: str) -> dict[str, Any]:
    """The structured shape used wherever the contract fixes no other one (requirement P16)."""
    body: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.details is not None:
        body["details"] = error.details
    if error.hint is not None:
        body["hint"] = error.hint
    body["timestamp"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body["requestId"] = request_id
    return {"error": body}
