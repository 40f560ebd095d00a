"""What is read of a provider's answer, whoever it is, and what of it is written down with the attempt."""

from collections.abc import Mapping
from typing import Any, Final

from basalt.http import OutgoingAnswer, parse_retry_after
from basalt.senders.delivery import Outcome
from basalt.senders.pacing import LONGEST_PAUSE_S, Reading, read_status

KEPT_CHARS: Final = 500
GATEWAY_TIMEOUTS: Final = frozenset({504, 524})  # somebody between us did not wait (524: Cloudflare)
FAULTY: Final = frozenset({400, 413, 422})  # the request is looked at, and something in it is wrong
# Key, domain, address of the API: no message is at fault, and the operator can mend it.
OPERATORS_STATUSES: Final = frozenset({401, 403, 404, 405, 407})


def is_for_now(status: int) -> bool:
    """Whether what a status refuses may be taken later. Redirects are not followed: an API has none, so that one leads
    to somebody else, or past maintenance.

    >>> [status for status in (200, 302, 400, 401, 404, 408, 422, 429, 503) if is_for_now(status)]
    [302, 401, 404, 408, 429, 503]
    """
    return 300 <= status < 400 or status in OPERATORS_STATUSES or status in (408, 429) or status >= 500


def read_pace(status: int) -> Reading:
    """What a status says about the provider, whatever it says about the message.

    >>> [read_pace(status) for status in (200, 302, 403, 422, 429, 503)]
    ['served', 'failed', 'failed', 'served', 'throttled', 'failed']
    """
    return "failed" if 300 <= status < 400 or status in OPERATORS_STATUSES else read_status(status)


def read_failure(answer: OutgoingAnswer, message: object, *, code: str = "") -> Outcome:
    """What an answer means that took nothing, as far as its status tells; `code` is the provider's own. One that
    claims success all the same is not understood: the messages may be on their way."""
    response = note_failure(answer.status, message)
    if answer.status < 300:
        return Outcome("unknown", error_code="unexpected_answer", response=response)
    code = code or f"http_{answer.status}"
    if answer.status in GATEWAY_TIMEOUTS:
        return Outcome("unknown", error_code=code, response=response)
    if is_for_now(answer.status):
        return Outcome("retry", error_code=code, response=response, retry_after_s=read_pause(answer))
    return Outcome("refused", error_code=code, response=response)


def read_pause(answer: OutgoingAnswer) -> float | None:
    """Seconds for which the provider asks for patience. One that asks for a year does not lose a message for one."""
    return read_patience(answer.headers.get("retry-after"))


def is_unanswered(answer: OutgoingAnswer | Outcome) -> bool:
    """Whether the messages in a request may be on their way."""
    return answer.verdict == "unknown" if isinstance(answer, Outcome) else answer.status in GATEWAY_TIMEOUTS


def read_object(answer: OutgoingAnswer) -> dict[str, Any]:
    """The JSON object of an answer; empty where it is something else."""
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def read_patience(value: str | None) -> float | None:
    """Seconds that a `Retry-After` asks for, an hour at most: a message shall not wait longer than its provider is left
    in peace. None for what is none.

    >>> read_patience("120"), read_patience("999999999"), read_patience("soon")
    (120.0, 3600.0, None)
    """
    asked_s = parse_retry_after(value)
    return None if asked_s is None else min(asked_s, LONGEST_PAUSE_S)


def first_object(entries: object) -> Mapping[str, Any]:
    """The first entry of a list, where it is an object; else an empty one."""
    first = entries[0] if isinstance(entries, list) and entries else None
    return first if isinstance(first, dict) else {}


def note_failure(status: int, message: object) -> Mapping[str, Any]:
    """`Outcome.response` of what was not taken."""
    return {"status": status, "message": str(message or "")[:KEPT_CHARS]}
