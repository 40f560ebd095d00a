"""Hooks over HTTP, signed by Standard Webhooks (GoTrue hooks/hookshttp; standardwebhooks.com).

Five seconds for everything, up to three tries. Unlike GoTrue, redirects are not followed, `Retry-After` is waited
for, and several signatures are parted by a space, as the specification has it.
"""

import asyncio
import time
from datetime import UTC, datetime
from email.message import Message
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

import orjson
from standardwebhooks import Webhook

from basalt.auth.errors import AuthError
from basalt.config import HttpHook
from basalt.http import OutgoingAnswer, OutgoingClient, OutgoingError

TIMEOUT_S: Final = 5.0
TRIES: Final = 3
BACK_OFF_S: Final = 2.0
MAX_BYTES: Final = 200 * 1024
BUSY: Final = "Service currently unavailable due to hook"


async def ask_endpoint(http: OutgoingClient, hook: HttpHook, payload: dict[str, Any]) -> dict[str, Any]:
    """Raises AuthError hook_timeout, hook_timeout_after_retry, hook_payload_over_size_limit,
    hook_payload_invalid_content_type, unexpected_failure."""
    body = orjson.dumps(payload)
    deadline = time.monotonic() + TIMEOUT_S
    for tries_left in reversed(range(TRIES)):
        try:
            answer = await http.send(
                "POST",
                hook.url,
                timeout_s=max(deadline - time.monotonic(), 0.001),
                headers=_headers(hook, body),
                content=body,
                max_bytes=MAX_BYTES,
            )
        except OutgoingError as error:
            if error.reason != "unreachable":
                raise _failure(error) from error
            if not tries_left:
                message = "Failed to reach hook after maximum retries"
                raise AuthError("hook_timeout_after_retry", message) from error
            wait_s = BACK_OFF_S
        else:
            if not _is_busy(answer):
                return _read(answer)
            wait_s = _retry_after_s(answer)
            if not tries_left or time.monotonic() + wait_s >= deadline:
                raise AuthError("unexpected_failure", BUSY)
        if time.monotonic() + wait_s >= deadline:
            raise _timeout()
        await asyncio.sleep(wait_s)
    raise AuthError("unexpected_failure", BUSY)


def _headers(hook: HttpHook, body: bytes) -> dict[str, str]:
    """Fresh for each try: identifier, time and one signature per secret, so that secrets can be exchanged."""
    message_id, now = str(uuid4()), datetime.now(UTC)
    signatures = [Webhook(secret).sign(message_id, now, body.decode()) for secret in hook.secrets]
    return {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _is_busy(answer: OutgoingAnswer) -> bool:
    busy = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
    return answer.status in busy and bool(answer.headers.get("retry-after"))


def _retry_after_s(answer: OutgoingAnswer) -> float:
    """Its seconds; the usual back-off for a date or `true`, which Supabase's documentation uses."""
    given = answer.headers["retry-after"].strip()
    return float(given) if given.isascii() and given.isdigit() and len(given) < 6 else BACK_OFF_S


def _read(answer: OutgoingAnswer) -> dict[str, Any]:
    match answer.status:
        case HTTPStatus.NO_CONTENT:
            return {}
        case HTTPStatus.OK | HTTPStatus.ACCEPTED:
            _check_content_type(answer.headers.get("content-type", ""))
            return _object(answer)
        case HTTPStatus.TOO_MANY_REQUESTS | HTTPStatus.SERVICE_UNAVAILABLE:
            raise AuthError("unexpected_failure", BUSY)
        case HTTPStatus.BAD_REQUEST:
            raise AuthError("unexpected_failure", "Invalid payload sent to hook")
        case HTTPStatus.UNAUTHORIZED:
            raise AuthError("unexpected_failure", "Hook requires authorization token")
        case status:
            message = f"Unexpected status code returned from hook: {int(status)}"
            raise AuthError("unexpected_failure", message)


def _check_content_type(given: str) -> None:
    code = "hook_payload_invalid_content_type"
    if not given:
        raise AuthError(code, "Invalid Content-Type: Missing Content-Type header")
    header = Message()
    header["content-type"] = given
    if header.get_content_type() != "application/json":
        raise AuthError(code, f"Invalid JSON response. Received content-type: {given[:100]}")


def _object(answer: OutgoingAnswer) -> dict[str, Any]:
    try:
        value = answer.json()
    except ValueError as error:
        raise AuthError("unexpected_failure", "Error unmarshaling JSON output.") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise AuthError("unexpected_failure", "Error unmarshaling JSON output.")
    return value


def _failure(error: OutgoingError) -> AuthError:
    if error.reason == "timeout":
        return _timeout()
    if error.reason == "too_large":
        message = f"Payload size exceeded size limit of {MAX_BYTES} bytes"
        return AuthError("hook_payload_over_size_limit", message)
    return AuthError("unexpected_failure", "Hook failed to make request object")


def _timeout() -> AuthError:
    return AuthError("hook_timeout", f"Failed to reach hook within maximum time of {TIMEOUT_S:f} seconds")
