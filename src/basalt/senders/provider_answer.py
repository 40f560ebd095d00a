"""What is read of a provider's answer, and what of it is written down with the attempt."""

from collections.abc import Mapping
from typing import Any, Final

from basalt.http import OutgoingAnswer, parse_retry_after
from basalt.senders.pacing import LONGEST_PAUSE_S

KEPT_CHARS: Final = 500


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


def note_failure(status: int, message: object) -> Mapping[str, Any]:
    """`Outcome.response` of what was not taken."""
    return {"status": status, "message": str(message or "")[:KEPT_CHARS]}
