"""What came of a request, in the form in which it is recorded: any bytes become text that PostgreSQL keeps, and what
went wrong is said as pg_net says it."""

from collections.abc import Mapping
from dataclasses import dataclass

from basalt.http import Failure, Timing, WireAnswer, WireError, parse_retry_after

NO_TEXT = {0: "\N{REPLACEMENT CHARACTER}"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row of `net._http_response`. `failure` says why there is no answer; `error_msg` may stand beside an answer that
    was cut."""

    status: int | None = None
    content_type: str | None = None
    headers: Mapping[str, str] | None = None
    content: str | None = None
    is_timed_out: bool = False
    error_msg: str | None = None
    failure: Failure | None = None
    retry_after_s: float | None = None
    duration_ms: int = 0


def record_answer(answer: WireAnswer, *, max_bytes: int) -> Outcome:
    headers = {_to_text(name): _to_text(value) for name, value in answer.headers}
    by_name = {name.lower(): value for name, value in headers.items()}
    return Outcome(
        status=answer.status,
        content_type=by_name.get("content-type"),
        headers=headers,
        content=_to_text(answer.body) or None,
        error_msg=f"The answer is larger than {max_bytes} bytes and was cut" if answer.is_cut else None,
        retry_after_s=parse_retry_after(by_name.get("retry-after")),
    )


def record_failure(error: WireError, *, timeout_ms: int) -> Outcome:
    is_timed_out = error.failure == "timeout"
    message = (
        describe_timeout(error.timing, timeout_ms)
        if is_timed_out and error.timing is not None
        else str(error)
    )
    if error.failure == "forbidden_address":
        message += ": the setting webhooks.allow_private would allow it"
    return Outcome(is_timed_out=is_timed_out, error_msg=message, failure=error.failure)


def describe_timeout(timing: Timing, timeout_ms: int) -> str:
    """pg_net's sentence, with the step at which the time ran out.

    >>> describe_timeout(Timing(10.0, resolved_at=10.25, sent_at=10.5, ended_at=11.0), 1000)[:45]
    'Timeout of 1000 ms reached. Total time: 1000.'
    >>> describe_timeout(Timing(10.0, resolved_at=10.25, sent_at=10.5, ended_at=11.0), 1000)[55:109]
    '(DNS time: 250.000000 ms, TCP/SSL handshake time: 250.'
    """
    resolved_at = timing.resolved_at
    if resolved_at is None:  # a connection that was kept, or the resolver was still at it
        resolved_at = timing.started_at if timing.sent_at is not None else timing.ended_at
    sent_at = timing.sent_at if timing.sent_at is not None else timing.ended_at
    total, dns, handshake, http = (
        seconds * 1000
        for seconds in (
            timing.ended_at - timing.started_at,
            resolved_at - timing.started_at,
            sent_at - resolved_at,
            timing.ended_at - sent_at,
        )
    )
    return (
        f"Timeout of {timeout_ms} ms reached. Total time: {total:f} ms (DNS time: {dns:f} ms, "
        f"TCP/SSL handshake time: {handshake:f} ms, HTTP Request/Response time: {http:f} ms)"
    )


def _to_text(data: bytes) -> str:
    return data.decode("utf-8", "replace").translate(NO_TEXT)
