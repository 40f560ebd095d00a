"""What the providers of text messages have in common: a form is posted, JSON comes back."""

from collections.abc import Mapping
from typing import Any, Final

from basalt.http import OutgoingClient, OutgoingError
from basalt.senders.message import SendError, TextMessage

TIMEOUT_S: Final = 10.0  # GoTrue's, for all providers


async def post_form(
    http: OutgoingClient, url: str, form: Mapping[str, str], *, authorization: str | None = None
) -> tuple[int, dict[str, Any]]:
    """Status and JSON object of the answer. Raises SendError. It is not tried again: the message may be on its
    way."""
    headers = {"accept": "application/json"}
    if authorization is not None:
        headers["authorization"] = authorization
    try:
        answer = await http.send("POST", url, timeout_s=TIMEOUT_S, headers=headers, form=form)
    except OutgoingError as exc:
        raise SendError(f"The provider cannot be asked: {exc}") from exc
    try:
        body = answer.json()
    except ValueError as exc:
        raise SendError(f"The provider answered {answer.status} without JSON") from exc
    if not isinstance(body, dict):
        raise SendError(f"The provider answered {answer.status} with JSON that is no object")
    return answer.status, body


def check_channel(message: TextMessage, provider: str) -> None:
    """Of providers that know text messages only."""
    if message.channel != "sms":
        raise SendError(f"{provider} does not take messages for {message.channel}")


def first_entry(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The first object of a list in an answer; empty where there is none."""
    entries = body.get(name)
    first = entries[0] if isinstance(entries, list) and entries else None
    return first if isinstance(first, dict) else {}
