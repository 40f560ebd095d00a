"""What is read of a provider's answer, and what of it is written down with the attempt."""

from collections.abc import Mapping
from typing import Any, Final

from basalt.http import OutgoingAnswer

KEPT_CHARS: Final = 500


def read_object(answer: OutgoingAnswer) -> dict[str, Any]:
    """The JSON object of an answer; empty where it is something else."""
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def note_failure(status: int, message: object) -> Mapping[str, Any]:
    """`Outcome.response` of what was not taken."""
    return {"status": status, "message": str(message or "")[:KEPT_CHARS]}
