"""What calls and answers look like on the socket; the other side of it is `bootstrap.js`."""

from basalt.functions.deno.exchange import Exchange, render_request
from basalt.functions.errors import FunctionError
from basalt.functions.frames import Call, Failure

WHOLE_BODY_BYTES = 1024 * 1024
OUTCOME = "basalt-outcome"
OF_THE_CONNECTION = frozenset(
    {"connection", "date", "keep-alive", "trailer", "transfer-encoding", "upgrade", OUTCOME}
)  # the gateway has a date of its own

Headers = list[tuple[str, str]]


def render_call(call: Call, number: int) -> bytes:
    """The number stands before the path, where the function does not see it."""
    headers = [(name, value) for name, value in call.headers.items() if name.lower() != "x-request-id"]
    headers.append(("x-request-id", call.request_id))
    return render_request(call.method, f"/{number}{call.path}", call.query_string, headers, call.body)


def control_request(path: str) -> bytes:
    return render_request("GET", path, "", (), b"")


def work_goes_on(headers: Headers) -> bool:
    """Whether the function has left work behind its answer."""
    return any(name == OUTCOME and "rests" in value for name, value in headers)


def read_failure(call: Call, headers: Headers, body: bytes) -> Failure | None:
    """What it was if the handler raised; such a body is a stack trace for the log. Raises FunctionError NOT_SUPPORTED
    (501) for what Deno can do and we cannot."""
    outcome = next((value for name, value in headers if name == OUTCOME), "")
    if "unsupported" in outcome:
        raise FunctionError("NOT_SUPPORTED", body.decode("utf-8", "replace"), status=501)
    if "failed" in outcome:
        text = body.decode("utf-8", "replace")
        message = "The function failed; its log has the details"
        return Failure(call.id, "SERVER_ERROR", 500, message, None, None, text)
    return None


def is_short(connection: Exchange) -> bool:
    """Whether a body is here already, or will be soon and is small."""
    if connection.is_complete:
        return True
    length = next((value for name, value in connection.headers if name == "content-length"), "")
    return length.isdigit() and int(length) <= WHOLE_BODY_BYTES


def select_headers(headers: Headers, *, keep_length: bool) -> Headers:
    """Those that are the function's own; the gateway knows the length of a body of bytes."""
    left_out = OF_THE_CONNECTION if keep_length else OF_THE_CONNECTION | {"content-length"}
    return [pair for pair in headers if pair[0] not in left_out]
