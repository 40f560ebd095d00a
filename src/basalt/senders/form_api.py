"""What the providers of text messages have in common: a form is posted, JSON comes back."""

from collections.abc import Mapping
from typing import Any, Final

from basalt.http import OutgoingClient, OutgoingError
from basalt.senders.message import Fate, SendError, TextMessage
from basalt.senders.provider_answer import is_for_now, read_object

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
        fate: Fate = "unknown" if exc.was_sent else "retry"
        raise SendError(f"The provider cannot be asked: {exc}", fate=fate, code=exc.reason) from exc
    body = read_object(answer)
    if not body:
        fate = "unknown" if answer.status < 300 else read_fate(answer.status)
        raise SendError(f"The provider answered {answer.status} without a JSON object", fate=fate)
    return answer.status, body


def read_fate(status: int) -> Fate:
    """Of a message that was not taken."""
    return "retry" if is_for_now(status) else "refused"


def check_channel(message: TextMessage, provider: str) -> None:
    """Of providers that know text messages only."""
    if message.channel != "sms":
        raise SendError(f"{provider} does not take messages for {message.channel}")
